"""Batch normalisation: numbers, running statistics, derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    assert_close,
    directional_difference,
    enable_x64,
    random_like,
    switch_off_kernels,
)

from jdarts import tree
from jdarts.ops.init import draw
from jdarts.ops.norm import BatchNorm

pytestmark = pytest.mark.usefixtures("x64")

SHAPE = (2, 3, 4, 5, 6)  # edge, batch, height, width, channel
NARROW = (1, 2, 34, 34, 2)  # several pixels fill a vector, several blocks an image
ODD = (2, 2, 3, 3, 2)  # pixels that do not fill vectors
AXES = (1, 2, 3)


def make(affine=False, shape=SHAPE):
    x = 3 + 2 * random_like(jax.random.key(0), jnp.zeros(shape))
    norm = BatchNorm(affine)
    boxed = jax.eval_shape(lambda x: norm.init(jax.random.key(0), x, train=False), x)
    return norm, draw(jax.random.key(0), boxed), x


@pytest.mark.parametrize("shape", [SHAPE, NARROW, ODD])
def test_training_uses_the_batch(shape):
    norm, variables, x = make(shape=shape)
    y = norm.apply(variables, x, train=True)
    mean, var = np.mean(x, AXES, keepdims=True), np.var(x, AXES, keepdims=True)
    assert_close(y, (x - mean) / np.sqrt(var + 1e-5), 1e-12)


def test_evaluation_uses_running_statistics():
    norm, variables, x = make()
    stats = {"mean": jnp.full((2, 6), 0.5), "var": jnp.full((2, 6), 4.0)}
    y = norm.apply({**variables, "batch_stats": stats}, x, train=False)
    assert_close(y, (x - 0.5) / np.sqrt(4 + 1e-5), 1e-13)


def test_affine():
    norm, variables, x = make(affine=True)
    start = variables["params"]
    np.testing.assert_array_equal(start["scale"], np.ones((2, 6)))
    np.testing.assert_array_equal(start["shift"], np.zeros((2, 6)))
    params = random_like(jax.random.key(1), start)
    plain = make()[0].apply({}, x, train=True)
    scale, shift = (params[n][:, None, None, None] for n in ("scale", "shift"))
    y = norm.apply({"params": params}, x, train=True)
    assert_close(y, plain * scale + shift, 1e-13)


def test_running_statistics():
    """new = 0.9 old + 0.1 batch, with the unbiased variance."""
    norm, variables, x = make()
    old = variables["batch_stats"]
    np.testing.assert_array_equal(old["mean"], np.zeros((2, 6)))
    np.testing.assert_array_equal(old["var"], np.ones((2, 6)))
    old = {"mean": old["mean"] + 0.3, "var": old["var"] * 2}
    y, new = norm.apply({"batch_stats": old}, x, train=True, mutable=["batch_stats"])
    expected = {
        "mean": 0.9 * old["mean"] + 0.1 * np.mean(x, AXES),
        "var": 0.9 * old["var"] + 0.1 * np.var(x, AXES, ddof=1),
    }
    assert_close(dict(new["batch_stats"]), expected, 1e-12)
    assert_close(y, norm.apply({"batch_stats": old}, x, train=True), 1e-14)


def test_a_batch_of_one_value():
    norm, variables, _ = make()
    x = jnp.full((2, 1, 1, 1, 6), 5.0)
    y, new = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    assert_close(y, jnp.zeros_like(x), 1e-12)
    assert jnp.isfinite(new["batch_stats"]["var"]).all()


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize(
    ("train", "shape"), [(True, SHAPE), (False, SHAPE), (True, NARROW), (True, ODD)]
)
def test_derivatives(train, shape, affine):
    """In the input, and in scale and shift, of all orders that a search takes."""
    norm, variables, x = make(affine, shape)
    stats = variables["batch_stats"]
    params = random_like(jax.random.key(2), variables.get("params", {}))
    point = (params, x)
    direction, (_, cotangent) = random_like(jax.random.key(1), [point, point])

    @jax.jit
    def derivatives(point):
        def f(point):
            w, x = point
            given = {"params": w, "batch_stats": stats}
            return (jnp.sin(norm.apply(given, x, train=train)) * cotangent).sum()

        gradient = jax.grad(f)
        along = jax.jvp(gradient, (point,), (direction,))[1]
        reverse = jax.grad(lambda p: tree.dot(gradient(p), direction))(point)
        return f(point), gradient(point), along, reverse

    _, gradient, along, reverse = derivatives(point)
    numeric = directional_difference(lambda p: derivatives(p)[:3], point, direction)
    assert_close(tree.dot(gradient, direction), numeric[0], 1e-7)
    assert_close(along, numeric[1], 1e-7)
    assert_close(reverse, along, 1e-12)
    third = jax.jvp(lambda p: derivatives(p)[3], (point,), (direction,))[1]
    assert_close(third, numeric[2], 1e-6)


@pytest.mark.parametrize("affine", [False, True])
def test_vectorised(affine):
    """Over inputs alone, and over everything."""
    norm, variables, x = make(affine)
    params = random_like(jax.random.key(2), variables.get("params", {}))
    weight = random_like(jax.random.key(3), x)

    def gradient(params, x):
        def f(params, x):
            return (norm.apply({"params": params}, x, train=True) * weight).sum()

        return jax.grad(f, (0, 1))(params, x)

    xs = jnp.stack([x, 2 * jnp.sin(x)])
    each = [gradient(params, own) for own in xs]
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    assert_close(jax.vmap(gradient, (None, 0))(params, xs), expected, 1e-11)
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), params)
    assert_close(jax.vmap(gradient)(both, xs), expected, 1e-11)


@pytest.mark.parametrize("shape", [SHAPE, NARROW, ODD])
def test_statistics_have_derivatives(shape):
    """Of what is written too: jvp of the running statistics is not dropped."""
    norm, variables, x = make(shape=shape)
    direction = random_like(jax.random.key(1), x)

    def written(x):
        _, new = norm.apply(variables, x, train=True, mutable=["batch_stats"])
        return dict(new["batch_stats"])

    along = jax.jvp(written, (x,), (direction,))[1]
    assert_close(along, directional_difference(written, x, direction), 1e-7)
    weight = random_like(jax.random.key(2), along)
    pulled = jax.grad(lambda x: tree.dot(written(x), weight))(x)
    assert_close(tree.dot(pulled, direction), tree.dot(along, weight), 1e-12)
    twice = jax.vmap(lambda t: jax.jvp(written, (x,), (t,))[1])
    both = twice(jnp.stack([direction, -direction]))
    assert_close(
        jax.tree.map(lambda a: a[1], both), jax.tree.map(jnp.negative, along), 1e-13
    )


def test_float32_far_from_zero():
    """The variance must not drown in the square of the mean."""
    with enable_x64(False):
        x = 100 + random_like(jax.random.key(0), jnp.zeros(SHAPE, jnp.float32))
        y = BatchNorm().apply({}, x, train=True)
    exact = np.asarray(x, np.float64)
    exact = (exact - exact.mean(AXES, keepdims=True)) / exact.std(AXES, keepdims=True)
    assert_close(y, exact, 1e-2)


def test_derivatives_as_on_accelerators(monkeypatch):
    """Without compiled kernels."""
    switch_off_kernels(monkeypatch)
    test_derivatives(True, ODD, True)
    test_statistics_have_derivatives(ODD)
    jax.clear_caches()
