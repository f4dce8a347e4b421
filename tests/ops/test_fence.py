"""Fences: the identity, of which a program's compilation takes no notice but on CPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compile_fusions_as_users_do

from jdarts import compile
from jdarts.ops.fence import fence


@pytest.mark.parametrize("width", [1, 4, 64, 1024])
def test_in_loops_of_any_size(width, monkeypatch):
    """XLA:CPU makes one kernel of a loop of few bytes, which has to know fences."""
    compile_fusions_as_users_do(monkeypatch)

    def powers(x):
        return jax.lax.scan(lambda y, _: (fence(fence(y) * 2),) * 2, x, length=3)

    last, each = compile.jit(powers)(jnp.arange(1.0, width + 1))
    np.testing.assert_array_equal(last, 8.0 * np.arange(1, width + 1))
    np.testing.assert_array_equal(each[:, -1], width * np.array([2.0, 4.0, 8.0]))


def test_derivatives_are_fenced():
    """Forward, in reverse, and in reverse over reverse."""

    def fences(fun):
        return str(jax.make_jaxpr(fun)(3.0)).count(" fence ")

    def square(x):
        return fence(x) * x

    assert (fences(square), fences(jax.grad(square))) == (1, 2)
    assert fences(jax.grad(jax.grad(square))) > 2
    assert jax.grad(square)(3.0) == 6.0 and jax.grad(jax.grad(square))(3.0) == 2.0
