"""A stage's form for TPU: against the definition in float64, and as it is lowered."""

import functools

import jax
import jax.numpy as jnp
import pytest
from helpers import assert_close, feature_groups, lowered

import jdarts.ops.composed
from jdarts.ops.composed import composed
from jdarts.ops.stage import separable_stage
from jdarts.ops.stage_forms import separate
from jdarts.ops.windows import Window

CHANNELS = 3
# windows, edges, whether they share a source, edges in a tile
CASES = {
    "shared": ((Window(3), Window(5), Window(3, 1, 2)), 2, True, 2),
    "halving": ((Window(3, 2), Window(5, 2, 2)), 3, True, 3),
    "own, one block": ((Window(3), Window(5)), 2, False, 2),
    "own, blocks of two": ((Window(3), Window(5, 1, 2)), 4, False, 2),
    "own, one by one": ((Window(3, 2),), 3, False, 2),
}


def arguments(windows, edges, shared, channels=CHANNELS, dtype=None, lead=()):
    rows, size = edges * len(windows), 6
    keys = iter(jax.random.split(jax.random.key(0), 2 + len(windows)))

    def draw(*shape):
        return jax.random.normal(next(keys), (*lead, *shape), dtype or float)

    return (
        draw(1 if shared else rows, 2, size, size, channels),
        draw(rows, channels, channels),
        [draw(edges, w.kernel, w.kernel, channels) for w in windows],
    )


def value_and_curvature(form, windows):
    """Value, gradients, and how they move."""

    def of(at, along):
        def loss(*a):
            return jnp.sin(form(*a, windows)).sum()

        return (
            form(*at, windows),
            *jax.jvp(jax.grad(loss, (0, 1, 2)), at, along),
        )

    return of


@functools.cache
def definition(case):
    """Compiled once for all tests of the case."""
    return jax.jit(value_and_curvature(separate, CASES[case][0]))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("lead", [(), (2,)], ids=["", "mapped"])
def test_equals_the_definition(case, lead, monkeypatch, x64):
    windows, edges, shared, in_a_tile = CASES[case]
    monkeypatch.setattr(jdarts.ops.composed, "_TILE", in_a_tile * CHANNELS)
    at = arguments(windows, edges, shared, lead=lead)
    along = jax.tree.map(jnp.cos, at)
    found, expected = value_and_curvature(composed, windows), definition(case)
    if lead:
        found = jax.vmap(found)
        pairs = [jax.tree.map(lambda a, i=i: a[i], (at, along)) for i in range(*lead)]
        each = [expected(*pair) for pair in pairs]
        exact = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    else:
        exact = expected(at, along)
    assert_close(jax.jit(found)(at, along), exact, 1e-11)


def test_bfloat16(x64):
    """Gradients in the weights add up in float32: rounded once, at their end."""
    windows, channels = (Window(5),), 64
    at = arguments(windows, 1, True, channels, jnp.bfloat16)
    g = jnp.ones((1, 2, 6, 6, channels), jnp.bfloat16)
    x, *weights = jax.tree.map(lambda a: a.astype(jnp.float64), at)

    def gradients(x, p, d, g):
        return jax.vjp(lambda p, d: composed(x, p, d, windows), p, d)[1](g)

    found = jax.jit(gradients)(*at, g)
    exact = jax.jit(gradients)(x, *weights, g.astype(jnp.float64))
    for f, e in zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True):
        assert f.dtype == jnp.bfloat16
        assert jnp.linalg.norm(f.astype(e.dtype) - e) < 0.01 * jnp.linalg.norm(e)


@pytest.mark.parametrize(
    ("channels", "shared", "groups"),
    [
        (16, True, {1}),
        (16, False, {1}),  # three edges of 16 channels in a tile of 128
        (64, False, {3}),  # blocks of equal size: not two and one
        (128, True, {1}),
    ],
)
def test_one_convolution_for_all_edges(channels, shared, groups):
    windows, edges = (Window(3),), 3
    args = arguments(windows, edges, shared, channels, jnp.float32)
    text = lowered("tpu", lambda *a: separable_stage(*a, windows), *args)
    assert feature_groups(text) == groups
    assert text.count("stablehlo.convolution") == 1
    assert "dot_general" not in text


def test_too_wide_for_a_tile():
    windows, edges, channels = (Window(3),), 2, 129
    args = arguments(windows, edges, False, channels, jnp.float32)
    text = lowered("tpu", lambda *a: separable_stage(*a, windows), *args)
    assert feature_groups(text) == {edges * channels}
    assert "dot_general" in text


@pytest.mark.parametrize("lead", [(), (2,)], ids=["", "mapped"])
def test_second_order_is_composed_as_well(lead):
    windows = (Window(3),)
    at = arguments(windows, 2, True, 16, jnp.float32, lead)
    of = value_and_curvature(separable_stage, windows)
    text = lowered("tpu", jax.vmap(of) if lead else of, at, at)
    assert text.count("stablehlo.convolution") > 3
    assert "dot_general" not in text  # no pointwise product is left
    assert feature_groups(text) <= {1, 2}  # no depthwise one: at most one per map
