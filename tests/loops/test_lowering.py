"""The search step of the DARTS space, lowered for every platform from here."""

import re

import jax
import jax.numpy as jnp
import pytest
from helpers import feature_groups

from jdarts import DartsConfig, HypergradientConfig, build_method, supernet
from jdarts.data import AugmentSpec
from jdarts.loops.chunk import DeviceData, make_chunk
from jdarts.sharding import make_mesh
from jdarts.spaces import DARTS_CNN

CHANNELS, CELL_CHANNELS = 2, (4, 8)  # of the two cells, both reductions


@pytest.fixture(scope="module")
def traced():
    """A chunk of steps, made of shapes only: nothing is compiled."""
    network = supernet(DARTS_CNN, channels=CHANNELS, layers=2, classes=10)
    config = DartsConfig(hypergradient=HypergradientConfig(name="first_order"))
    method = build_method(config, DARTS_CNN, network, epochs=1, steps_per_epoch=2)
    spec = AugmentSpec(mean=(0.5,), std=(0.2,), crop_padding=1, flip=True, cutout=2)
    chunk = make_chunk(method, spec, make_mesh(), batch_size=4, steps_per_epoch=2)

    def start():
        key, half = jax.random.key(0), jnp.zeros(8, jnp.int32)
        images, labels = jnp.zeros((16, 8, 8, 1), jnp.uint8), jnp.zeros(16, jnp.int32)
        state = method.init(key, jnp.zeros((4, 8, 8, 1)))
        return key, state, DeviceData(images, labels, half, half), jnp.int32(1)

    return jax.jit(chunk).trace(*jax.eval_shape(start))


@pytest.fixture(scope="module", params=["cpu", "cuda", "tpu"])
def lowered(request, traced):
    """(platform, StableHLO)."""
    lowered = traced.lower(lowering_platforms=(request.param,))
    return request.param, lowered.as_text()


def test_depthwise_convolutions(lowered):
    platform, text = lowered
    groups = feature_groups(text)
    if platform in ("cpu", "tpu"):
        # XLA:CPU's grouped convolution is slow; on TPU they are composed with the
        # pointwise ones, in blocks of edges.
        assert groups == {1}
    else:
        assert {*CELL_CHANNELS} <= groups
        # Several sources at once multiply the channels.
        assert all(n == 1 or n % CELL_CHANNELS[0] == 0 for n in groups)


def test_nothing_leaves_the_device(lowered):
    platform, text = lowered
    targets = set(re.findall(r"custom_call @([\w.]+)", text))
    assert all(t.startswith("jdarts_") for t in targets)  # compiled kernels
    assert platform == "cpu" or not targets
    for operation in ("infeed", "outfeed", "send", "recv"):
        assert f"stablehlo.{operation}" not in text
    assert "callback" not in text
    assert "stablehlo.while" in text  # the steps are one loop
