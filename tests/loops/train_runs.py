"""The training that these tests run, and what they read from its folder."""

import json

import jax
import numpy as np

from jdarts import Genotype
from jdarts.io import Checkpoints
from jdarts.loops.train import train_setup
from jdarts.spaces import CellGenotype, Connection
from jdarts.train_cli import parse_train

_CELL = CellGenotype(
    ((Connection("sep_conv_3x3", 0), Connection("skip_connect", 1)),), (2,)
)
GENOTYPE = Genotype("toy", {"normal": _CELL, "reduce": _CELL})
# Long enough to be caught in the middle; everything optional is on.
OPTIONS = (
    "train_digits --channels 2 --layers 3 --batch-size 8 --data.limit 256 "
    "--log-every 1 --epochs 3 --average-decay 0.9 --label-smoothing 0.1 "
    "--drop-path 0.3 --data.cutout 2"
).split()
PER_EPOCH, STEPS = 32, 96
OFTEN = ("--checkpoint-minutes", "1e-9")


def write_genotype(folder):
    """A file with the genotype."""
    file = folder / "toy.json"
    file.write_text(json.dumps(GENOTYPE.to_json()))
    return str(file)


def last_state(folder, arguments):
    """The newest checkpoint: step, state, meta."""
    command = parse_train(arguments)
    start = train_setup(command.config, command.genotype)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        return checkpoints.restore(start.state)


def assert_same_training(found, expected, arguments):
    """Everything that a training leaves is the same, bit for bit."""
    names = ("genotype.json", "metrics.jsonl", "summary.txt", "result.json")
    for name in (*names, "config.json"):
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name
    a, b = (last_state(folder, arguments) for folder in (found, expected))
    assert (a.step, a.meta) == (b.step, b.meta) and a.step == STEPS
    leaves = jax.tree.leaves_with_path(b.state)
    for (path, x), y in zip(leaves, jax.tree.leaves(a.state), strict=True):
        np.testing.assert_array_equal(x, y, err_msg=jax.tree_util.keystr(path))
