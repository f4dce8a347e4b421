"""Run by test_devices.py in its own process, with 8 devices and float64.

Writes one JSON object: how far a search on 8 devices is from one on 1 device, for each
hypergradient that is named; ``seeds``: the same for two seeds at once.
"""

import dataclasses
import json
import re
import sys

import jax
import numpy as np

from jdarts.compile import jit
from jdarts.config import SearchConfig
from jdarts.data import DataConfig
from jdarts.hypergradient import HypergradientConfig
from jdarts.loops.setup import programs, setup
from jdarts.methods.darts import DartsConfig
from jdarts.spaces import SPACES, CellSpec, SearchSpace

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
    """Largest relative error over all leaves; every leaf is float64 or a counter."""
    worst = 0.0
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.dtype in (np.float64, np.int32), a.dtype
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


if __name__ == "__main__":
    assert jax.device_count() == 8 and jax.config.jax_enable_x64
    found = {n: compare(n) if n != "seeds" else compare_seeds() for n in sys.argv[1:]}
    print(json.dumps(found))
