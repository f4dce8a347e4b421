"""What a training leaves, without training."""

import dataclasses

from jdarts import Genotype
from jdarts.data import DataConfig
from jdarts.io import Checkpoints, write_json
from jdarts.loops.train import train_setup
from jdarts.loops.train_record import EpochScore, TrainResult
from jdarts.spaces import CellGenotype, Connection
from jdarts.train_config import load_recipe, recipe_to_json


def tiny(**changes):
    """A recipe of a network that is small, with an average of its weights."""
    recipe = dataclasses.replace(
        load_recipe("train_digits"),
        channels=2,
        layers=3,
        average_decay=0.9,
        data=DataConfig(name="digits", limit=128),
    )
    return dataclasses.replace(recipe, **changes)


def make_training(folder, config, finished=True):
    """What a training leaves, without training: the weights are those of its start."""
    pair = (Connection("max_pool_3x3", 0), Connection("skip_connect", 1))
    cell = CellGenotype((pair,), (2,))
    genotype = Genotype("toy", {"normal": cell, "reduce": cell})
    folder.mkdir()
    write_json(folder / "config.json", recipe_to_json(config, genotype))
    start = train_setup(config, genotype)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(7, start.state, {})
        checkpoints.wait()
    if finished:
        score = EpochScore(1, 1.0, 0.5, 0.9)
        result = TrainResult(
            "tiny", 0, genotype, start.parameters, "test", 360, 0.1, 7, score, score
        )
        write_json(folder / "result.json", result.to_json())
    return start
