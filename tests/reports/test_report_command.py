"""The command in the report is the run's."""

import dataclasses
import shlex
from pathlib import Path

import pytest

from jdarts import DartsConfig, HypergradientConfig
from jdarts.cli import parse_search
from jdarts.config import config_names, load_config
from jdarts.data import DataConfig
from jdarts.methods.optimizers import WeightOptimizer
from jdarts.reports.command import search_command


def parsed(command):
    python, flag, module, *arguments = shlex.split(command)
    assert (python, flag, module) == ("python", "-m", "jdarts.search")
    return parse_search(arguments).config


@pytest.mark.parametrize("name", config_names())
def test_a_configuration_as_it_stands_is_its_name(name):
    assert search_command(load_config(name)) == f"python -m jdarts.search {name}"


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 7},
        {"seed": None, "seeds": (3, 1, 4)},
        {"name": "a b; rm 'x", "epochs": 7, "steps": 12, "remat": True},
        {"compute_dtype": "bfloat16", "checkpoint_minutes": 1e-9},
        {"data": DataConfig(name="npz", dir=Path("/tmp/my data.npz"), flip=False)},
        {"data": DataConfig(name="digits", limit=None, split="file_order")},
        {
            "method": DartsConfig(
                hypergradient=HypergradientConfig(name="first_order"),
                weights=WeightOptimizer(lr=0.1 + 0.2),
            )
        },
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["smoke", "digits"])
def test_overrides_give_the_same_configuration(name, changes):
    config = dataclasses.replace(load_config(name), **changes)
    assert parsed(search_command(config)) == config


def test_the_nearest_configuration_is_the_base():
    config = dataclasses.replace(load_config("darts_cifar10"), epochs=3)
    assert search_command(config) == "python -m jdarts.search darts_cifar10 --epochs 3"
