"""Pools against loops in numpy; their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    assert_close,
    directional_difference,
    random_like,
    switch_off_kernels,
)

from jdarts import jit
from jdarts.ops.pool import avg_pool, max_pool
from jdarts.ops.windows import Window

WINDOWS = [Window(k, s) for k in (3, 5) for s in (1, 2)]
pytestmark = pytest.mark.usefixtures("x64")


def by_loops(x, window, reduce):
    """``reduce`` over the cells of every window that lie inside the image."""
    *_, height, width, _ = x.shape
    rows, columns = (-(-n // window.stride) for n in (height, width))
    out = np.empty((*x.shape[:-3], rows, columns, x.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            top, left = (window.stride * n - window.kernel // 2 for n in (i, j))
            cells = x[
                ...,
                max(top, 0) : top + window.kernel,
                max(left, 0) : left + window.kernel,
                :,
            ]
            out[..., i, j, :] = reduce(cells, axis=(-3, -2))
    return out


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize(
    ("pool", "reduce"), [(max_pool, np.max), (avg_pool, np.mean)], ids=["max", "avg"]
)
@pytest.mark.parametrize("size", [(6, 6), (5, 7)])
def test_values_and_derivatives(window, pool, reduce, size):
    x, direction = random_like(jax.random.key(0), [jnp.zeros((2, *size, 3))] * 2)
    cotangent = random_like(
        jax.random.key(1), jax.eval_shape(lambda x: pool(x, window), x)
    )

    def smooth(x):
        return (jnp.sin(pool(x**2, window)) * cotangent).sum()

    @jit
    def everything(x):
        gradient = jax.grad(smooth)
        along = jax.jvp(gradient, (x,), (direction,))[1]
        reverse = jax.grad(lambda x: jnp.vdot(gradient(x), direction))(x)
        return pool(x, window), gradient(x), along, reverse

    value, gradient, along, reverse = everything(x)
    assert_close(value, by_loops(np.asarray(x), window, reduce), 1e-14)
    numeric = directional_difference(jit(smooth), x, direction)
    assert_close(jnp.vdot(gradient, direction), numeric, 1e-7)
    numeric = directional_difference(lambda x: everything(x)[1], x, direction)
    assert_close(along, numeric, 1e-7)
    assert_close(reverse, along, 1e-12)


def test_a_maximum_below_zero():
    """Nothing outside the image wins."""
    x = -jnp.ones((1, 4, 4, 1))
    np.testing.assert_array_equal(max_pool(x, Window(3)), x)


def test_first_of_equals_gets_the_gradient():
    gradient = jax.grad(lambda x: max_pool(x, Window(3, 2)).sum())(jnp.ones((4, 4, 1)))
    expected = np.zeros((4, 4))
    expected[0, 0] = expected[0, 1] = expected[1, 0] = expected[1, 1] = 1
    np.testing.assert_array_equal(gradient[..., 0], expected)


def test_vmap():
    x = random_like(jax.random.key(0), jnp.zeros((3, 2, 6, 6, 1)))
    for pool in (max_pool, avg_pool):
        mapped = jax.vmap(lambda x, pool=pool: pool(x, Window(3, 2)), 1, 1)(x)
        np.testing.assert_array_equal(mapped, pool(x, Window(3, 2)))


@pytest.mark.parametrize(
    ("pool", "reduce"), [(max_pool, np.max), (avg_pool, np.mean)], ids=["max", "avg"]
)
def test_as_on_accelerators(pool, reduce, monkeypatch):
    """Without compiled kernels."""
    switch_off_kernels(monkeypatch)
    test_values_and_derivatives(Window(3, 1), pool, reduce, (5, 7))
    jax.clear_caches()
