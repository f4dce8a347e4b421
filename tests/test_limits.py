"""Absurd numbers in any field of any configuration: valid, or one line, and soon."""

import dataclasses
import functools
import itertools
import math
import os
import time
import types
import typing

import numpy as np
import pytest

from jdarts import METHODS, ZOO, UserError
from jdarts.comparisons.arguments import CompareOptions
from jdarts.config import SearchConfig, from_json, load_config, to_json
from jdarts.cost import CostOptions
from jdarts.data import load_text
from jdarts.latency import LatencyOptions
from jdarts.limits import check_run_memory, image_bytes, machine_memory
from jdarts.loops import search as search_loop
from jdarts.loops import setup, text_setup, text_train_setup, train_setup
from jdarts.loops.perturb import PerturbConfig
from jdarts.nets.stems import STEMS
from jdarts.pareto import ParetoOptions
from jdarts.text_train_config import TextTrainConfig
from jdarts.train_config import load_recipe, recipe_from_json, recipe_to_json

EXTREME = (0, -1, 10**9, 10**18, math.nan, math.inf, -math.inf)
NUMBERS = (int, float)


def numbers(config, path=()):
    """The path of every numeric field, and whether it is a tuple of numbers."""
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        here = (*path, field.name)
        if dataclasses.is_dataclass(value):
            yield from numbers(value, here)
            continue
        options = typing.get_args(hint) if isinstance(hint, types.UnionType) else [hint]
        if any(option in NUMBERS for option in options):
            yield here, False
        for option in options:
            if typing.get_origin(option) is tuple:
                if typing.get_args(option)[0] in NUMBERS:
                    yield here, True


def changed(data, path, value):
    """The plain data with one value in it replaced."""
    first, *rest = path
    return data | {first: changed(data[first], rest, value) if rest else value}


LOAD_TEXT = functools.cache(load_text)


@pytest.fixture
def nothing_is_built(monkeypatch):
    """Setups check, and build no weights."""
    for module in (setup, text_setup, train_setup, text_train_setup):
        monkeypatch.setattr(
            module, "_start", lambda *args: (np.zeros(()), np.zeros(()))
        )
    nothing = types.SimpleNamespace(w={}), np.zeros(())
    monkeypatch.setattr(text_train_setup, "_start", lambda *args: nothing)
    monkeypatch.setattr(train_setup, "_parameters", lambda state: 1)
    monkeypatch.setattr(setup, "_measure", lambda *args: None)
    for module in (text_setup, text_train_setup):  # the same text again and again
        monkeypatch.setattr(module, "load_text", LOAD_TEXT)
        monkeypatch.setattr(module, "text_baselines", lambda *args: {})


def judge(build, value):
    """Whether a value is valid; if not it was refused in one line, and soon."""
    start = time.process_time()
    try:
        build()
        return True
    except UserError as error:
        assert "\n" not in str(error) and 0 < len(str(error)) < 600, error
        return False
    finally:  # a hang shows; how fast it is is not measured here
        assert time.process_time() - start < 30, value


SEARCHES = {
    name: load_config("smoke").with_method(row.config())
    for name, row in METHODS.items()
} | {"text": load_config("rnn_demo")}


def variants(config, plain):
    data = plain(config)
    for (path, several), value in itertools.product(numbers(config), EXTREME):
        if path in (("seed",), ("seeds",)):
            data = {k: v for k, v in data.items() if k not in ("seed", "seeds")}
        yield path, value, changed(data, path, [value] if several else value)


@pytest.mark.usefixtures("nothing_is_built")
@pytest.mark.parametrize("name", SEARCHES)
def test_every_number_of_a_search(name):
    """Parsed, and set up as far as weights are not built."""
    config = SEARCHES[name]
    own = isinstance(config, SearchConfig) and name != "darts"
    valid, seen = set(), set()
    for path, value, data in variants(config, to_json):
        if own and path[0] != "method":
            continue  # the same for every method
        seen.add(path)
        if judge(lambda data=data: search_loop.setup(from_json(data)), (path, value)):
            valid.add((path, str(value)))
    assert len(seen) >= 5
    # what must never be valid, whatever the field
    assert not {pair for pair in valid if pair[1] in ("nan", "inf", "-inf")}
    sizes = {"epochs", "batch_size", "channels", "layers", "units", "length"}
    for size, value in itertools.product(sizes, ("0", "-1", str(10**9), str(10**18))):
        assert ((size,), value) not in valid


@pytest.mark.usefixtures("nothing_is_built")
@pytest.mark.parametrize(
    ("recipe", "genotype"),
    [("train_digits", "DARTS_V2"), ("train_topics", "RNN_DARTS_V2")],
)
def test_every_number_of_a_training(recipe, genotype):
    config, found = load_recipe(recipe), ZOO[genotype]
    text = isinstance(config, TextTrainConfig)
    make = text_train_setup.text_train_setup if text else train_setup.train_setup
    valid = set()
    for path, value, data in variants(config, recipe_to_json):
        build = lambda data=data: make(recipe_from_json(data), found)  # noqa: E731
        if judge(build, (path, value)):
            valid.add((path, str(value)))
    assert not {pair for pair in valid if pair[1] in ("nan", "inf", "-inf")}
    assert (("log_every",), "0") not in valid and (("epochs",), str(10**9)) not in valid


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (CompareOptions, {}),
        (PerturbConfig, {}),
        (CostOptions, {"genotype": "DARTS_V2"}),
        (LatencyOptions, {"out": "new.json"}),
        (ParetoOptions, {"runs": ("a",)}),
    ],
)
def test_every_number_of_other_commands(kind, given, tmp_path):
    if "out" in given:
        given = {"out": tmp_path / given["out"]}
    example = kind(**given)
    for (path, several), value in itertools.product(numbers(example), EXTREME):
        (name,) = path
        default = getattr(example, name)
        new = tuple(value for _ in default or (1,)) if several else value
        valid = judge(lambda: kind(**given, **{name: new}), (name, value))  # noqa: B023
        assert not (valid and not math.isfinite(value))


def test_very_many_seeds():
    data = to_json(load_config("smoke"))
    del data["seed"]
    for seeds in (list(range(100_000)), [0] * 100_000):
        with pytest.raises(UserError, match="--seeds: 100000 seeds; expected at most"):
            from_json(data | {"seeds": seeds})


@pytest.mark.usefixtures("nothing_is_built")
def test_memory_is_estimated_before_anything_is_built(monkeypatch):
    config = load_config("digits")
    search_loop.setup(config)
    large = dataclasses.replace(config, channels=60_000)
    with pytest.raises(
        UserError, match="at least .* GiB of memory .* this machine has"
    ):
        search_loop.setup(large)
    monkeypatch.setattr("jdarts.limits.machine_memory", lambda: 2**20)
    with pytest.raises(UserError, match="--channels, --layers"):
        search_loop.setup(dataclasses.replace(config, channels=64))


def test_an_accelerator_has_memory_of_its_own(monkeypatch):
    with pytest.raises(UserError, match="--channels: at least"):
        check_run_memory(2.0**60, "--channels")
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    check_run_memory(2.0**60, "--channels")


@pytest.mark.parametrize(
    ("texts", "allows"),
    [
        (("1048576\n", None), 2**20),
        ((None, "1048576\n"), 2**20),
        (("max\n", None), None),
        ((None, "9223372036854771712\n"), None),
        ((None, None), None),
    ],
)
def test_a_container_may_have_less(texts, allows, monkeypatch, tmp_path):
    files = tmp_path / "two", tmp_path / "one"
    for file, text in zip(files, texts, strict=True):
        if text is not None:
            file.write_text(text)
    monkeypatch.setattr("jdarts.limits._CGROUP", files)
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert machine_memory() == (allows or whole)


def test_narrow_values_and_few_channels_need_less():
    config = load_config("digits")
    rest = (8, 8, 1), 1, 14
    values = 4 * config.batch_size * 64 * config.channels
    weights = image_bytes(config, *rest, None) - values
    assert image_bytes(config, *rest, "bfloat16") == weights + values / 2
    assert image_bytes(config, *rest, None, 4) == weights / 16 + values


def test_the_estimate_is_from_below():
    """Published settings fit into little."""
    for name in ("darts_cifar10", "pcdarts_imagenet", "nasp_cifar10"):
        config = load_config(name)
        size = 224 if "imagenet" in name else 32
        stride = STEMS[config.stem].stride
        assert image_bytes(config, (size, size, 3), stride, 14, None) < 4 * 2**30
    check_run_memory(0, "x")
    assert 2**28 < machine_memory() < 2**50
