"""Run by test_devices.py in a process of its own, with 8 devices and float64.

Writes one JSON object: how far a search on 8 devices is from one on 1 device.
"""

import dataclasses
import json
import re
import sys

import jax
import numpy as np

from jdarts.compile import jit
from jdarts.config import SearchConfig
from jdarts.data import DataConfig, augment_spec
from jdarts.hypergradient import HypergradientConfig
from jdarts.loops.chunk import make_chunk, make_evaluation
from jdarts.loops.search import setup
from jdarts.methods.darts import DartsConfig
from jdarts.sharding import replicated
from jdarts.spaces import SPACES, CellSpec, SearchSpace

STEPS = 3
_NORMAL = CellSpec(primitives=("none", "skip_connect", "sep_conv_3x3"), nodes=1)
SPACES["tiny"] = SearchSpace(
    name="tiny",
    cells={"normal": _NORMAL, "reduce": dataclasses.replace(_NORMAL, stride=2)},
    stem_multiplier=1,
    reductions=((0, 1),),
)


def config(hypergradient):
    return SearchConfig(
        space="tiny",
        channels=2,
        layers=1,
        epochs=1,
        batch_size=16,
        data=DataConfig(name="digits", limit=100, crop_padding=1),
        method=DartsConfig(hypergradient=HypergradientConfig(name=hypergradient)),
    )


def search(hypergradient, devices):
    """(compiled chunk's text, state, metrics, evaluation) after STEPS steps."""
    settings = config(hypergradient)
    start = setup(settings, devices)
    spec = augment_spec(settings.data, start.images)
    sizes = {"batch_size": settings.batch_size}
    chunk = make_chunk(
        start.method, spec, start.mesh, steps_per_epoch=start.steps_per_epoch, **sizes
    )
    everywhere = replicated(start.mesh)
    arguments = (start.key, start.state, start.data, np.int32(STEPS))
    compiled = jit(chunk, out_shardings=everywhere).lower(*arguments).compile()
    state, log = compiled(*arguments)
    evaluation = make_evaluation(start.method, spec, start.mesh, **sizes)
    found = jit(evaluation, out_shardings=everywhere)(
        state, start.data, np.int32(0), np.int32(-(-len(start.data.valid) // 16))
    )
    log = {name: values[:STEPS] for name, values in log.items()}
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


def compare(hypergradient):
    (one, *expected), (eight, *found) = (
        search(hypergradient, jax.devices()[:count]) for count in (1, 8)
    )
    state = found[0]
    return {
        "state": distance(state, expected[0]),
        "metrics": distance(found[1], expected[1]),
        "evaluation": distance(found[2], expected[2]),
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
    print(json.dumps({name: compare(name) for name in sys.argv[1:]}))
