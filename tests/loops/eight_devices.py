"""Run by test_devices.py in its own process, with 8 devices and float64.

Writes one JSON object: how far a search on 8 devices is from one on 1 device, for each
hypergradient that is named; ``seeds``: the same for two seeds at once; other names: of
OTHERS.
"""

import dataclasses
import json
import re
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np

from jdarts import SPACES, DartsConfig, Genotype, HypergradientConfig, SearchSpace, jit
from jdarts.cli import parse_search
from jdarts.config import SearchConfig
from jdarts.data import DataConfig
from jdarts.loops.setup import programs, setup
from jdarts.loops.text_setup import text_setup
from jdarts.loops.text_train_setup import text_train_setup
from jdarts.loops.train_setup import train_programs, train_setup
from jdarts.spaces import CellGenotype, CellSpec, Connection
from jdarts.train_cli import parse_train

STEPS, SEEDS = 3, (4, 1)
_NORMAL = CellSpec(primitives=("none", "skip_connect", "sep_conv_3x3"), nodes=1)
SPACES["tiny"] = SearchSpace(
    name="tiny",
    cells={"normal": _NORMAL, "reduce": dataclasses.replace(_NORMAL, stride=2)},
    stem_multiplier=1,
    reductions=((0, 1),),
)


def config(hypergradient, seeds=None):
    return SearchConfig(
        seeds=seeds,
        space="tiny",
        channels=2,
        layers=1,
        epochs=1,
        batch_size=16,
        data=DataConfig(name="digits", limit=100, crop_padding=1),
        method=DartsConfig(hypergradient=HypergradientConfig(name=hypergradient)),
    )


def search(settings, devices):
    """(compiled chunk's text, state, metrics, evaluation) after STEPS steps."""
    start = setup(settings, devices)
    chunk, evaluation = programs(settings, start)
    arguments = (start.key, start.state, start.data, np.int32(STEPS))
    compiled = jit(chunk, out_shardings=start.seeds.own).lower(*arguments).compile()
    state, log = compiled(*arguments)
    found = jit(evaluation, out_shardings=start.seeds.own)(
        state, start.data, np.int32(0), np.int32(-(-start.valid_count // 16))
    )
    log = {name: values[..., :STEPS] for name, values in log.items()}
    return compiled.as_text(), state, log, found


def distance(found, expected):
    """Largest relative error over all leaves: float64, counters and flags."""
    worst = 0.0
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.dtype in (np.float64, np.int32, np.bool_), a.dtype
        a, b = np.float64(a), np.float64(b)
        scale = np.abs(b).max(initial=0.0) or 1.0
        worst = max(worst, float(np.abs(a - b).max(initial=0.0) / scale))
    return worst


def images_per_device(text):
    """Leading sizes of the stem's convolution, the only one with 3x3 kernels."""
    return sorted(
        {int(n) for n in re.findall(r"= f64\[(\d+),8,8,2\]\S* convolution", text)}
    )


def distances(found, expected):
    names = ("state", "metrics", "evaluation")
    return dict(zip(names, map(distance, found, expected), strict=True))


def compare_seeds():
    settings = config("first_order", SEEDS)
    (_, *expected), (text, *found) = (
        search(settings, jax.devices()[:count]) for count in (1, 8)
    )
    state = found[0]
    own = {
        tuple(s.data.shape[:1]) + (s.device.id,) for s in state.step.addressable_shards
    }
    return {
        **distances(found, expected),
        "steps": state.step.tolist(),
        "places": sorted(own),
        "communication": re.findall(r"all-\w+|collective-\w+", text),
    }


def compare(hypergradient):
    (one, *expected), (eight, *found) = (
        search(config(hypergradient), jax.devices()[:count]) for count in (1, 8)
    )
    state = found[0]
    return {
        **distances(found, expected),
        "moved": distance(
            state.arch.alpha, setup(config(hypergradient)).state.arch.alpha
        ),
        "replicated": all(
            leaf.sharding.is_fully_replicated and len(leaf.sharding.device_set) == 8
            for leaf in jax.tree.leaves(state)
        ),
        "steps": int(state.step),
        "all_reduce": ["all-reduce" in one, "all-reduce" in eight],
        "images": [images_per_device(one), images_per_device(eight)],
    }


def training(devices):
    """The start of a training of images, with what draws random numbers switched on."""
    pair = Connection("sep_conv_3x3", 0), Connection("skip_connect", 1)
    cell = CellGenotype((pair,), (2,))
    genotype = Genotype("tiny", {"normal": cell, "reduce": cell})
    file = Path(tempfile.mkdtemp()) / "tiny.json"
    file.write_text(json.dumps(genotype.to_json()))
    words = (
        f"{file} train_digits --channels 2 --layers 1 --batch-size 16 --data.limit 100 "
        "--epochs 1 --drop-path 0.3 --label-smoothing 0.1 --average-decay 0.9 "
        "--data.cutout 2"
    )
    command = parse_train(words.split())
    start = train_setup(command.config, command.genotype, devices)
    return start, train_programs(command.config, start), -(-start.valid_count // 16)


def _text():
    """The options of a small text."""
    file = Path(tempfile.mkdtemp()) / "text.txt"
    file.write_text("one two three one three two four\n" * 200)
    sizes = "--units 6 --length 6 --batch-size 8 --evaluation-batch 8 --epochs 1"
    return f"{sizes} --data.name file --data.level word --data.dir {file}".split()


def text_search(devices):
    first = "--method.hypergradient.name first_order --method.no-clip-virtual"
    words = f"rnn_demo --space toy_rnn {first}".split()
    config = parse_search([*words, *_text()]).config
    start = text_setup(config, devices)
    return start, start.programs(config), start.evaluations


def text_training(devices):
    words = ["RNN_DARTS_V1", "train_topics", *_text(), "--test-batch", "1"]
    command = parse_train(words)
    start = text_train_setup(command.config, command.genotype, devices)
    return start, start.programs(command.config), start.evaluations


OTHERS = {
    "training": training,
    "text search": text_search,
    "text training": text_training,
}


def run_other(name, devices):
    """(compiled chunk's text, how far the weights moved, state, metrics, evaluation)"""
    start, (chunk, evaluation), evaluations = OTHERS[name](devices)
    before = jax.tree.map(np.asarray, start.state.w)
    arguments = (start.key, start.state, start.data, np.int32(STEPS))
    compiled = jit(chunk, out_shardings=start.seeds.own).lower(*arguments).compile()
    state, log = compiled(*arguments)
    found = jit(evaluation, out_shardings=start.seeds.own)(
        state, start.data, np.int32(0), np.int32(evaluations)
    )
    log.pop("lr")  # float32, and nothing that devices compute
    log = {name: values[:STEPS] for name, values in log.items()}
    return compiled.as_text(), distance(state.w, before), state, log, found


def compare_other(name):
    (one, moved, *expected), (eight, _, *found) = (
        run_other(name, jax.devices()[:count]) for count in (1, 8)
    )
    return {
        **distances(found, expected),
        "moved": moved,
        "steps": int(found[0].step),
        "all_reduce": ["all-reduce" in one, "all-reduce" in eight],
    }


def measure(name):
    if name in OTHERS:
        return compare_other(name)
    return compare_seeds() if name == "seeds" else compare(name)


if __name__ == "__main__":
    assert jax.device_count() == 8 and jax.config.jax_enable_x64
    print(json.dumps({name: measure(name) for name in sys.argv[1:]}))
