"""Arithmetic on pytrees."""

import jax.numpy as jnp
import numpy as np
import pytest

from jdarts import tree

X = {"a": jnp.array([1.0, -2.0]), "b": [jnp.array(3.0)]}
Y = {"a": jnp.array([4.0, 5.0]), "b": [jnp.array(-1.0)]}


def test_add_scaled():
    found = tree.add_scaled(X, 2.0, Y)
    np.testing.assert_array_equal(found["a"], [9.0, 8.0])
    np.testing.assert_array_equal(found["b"][0], 1.0)


def test_dot_and_norm():
    assert tree.dot(X, Y) == 4.0 - 10.0 - 3.0
    assert tree.norm(X) == pytest.approx(14.0**0.5)
    assert tree.norm({}) == 0.0


@pytest.mark.parametrize("function", [tree.dot, lambda x, y: tree.add_scaled(x, 1, y)])
def test_other_shapes_are_not_broadcast(function):
    with pytest.raises(AssertionError):
        function({"a": jnp.ones((2, 1))}, {"a": jnp.ones(2)})


def test_size():
    assert tree.size(X) == 3
    assert tree.size({"a": jnp.zeros((2, 3)), "b": jnp.zeros(())}) == 7


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf, -jnp.inf])
def test_all_finite(value):
    assert tree.all_finite(X)
    assert not tree.all_finite({"a": jnp.ones(2), "b": jnp.array([0.0, value])})


def test_norm_keeps_float64(x64):
    assert tree.norm({"a": jnp.ones(2)}).dtype == jnp.float64
