"""Images by every so many rows and columns: values, derivatives, and no gathers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import lowered

from jdarts.nets.partial import halve
from jdarts.ops.windows import Window, every, gather_taps


@pytest.mark.parametrize("shape", [(2, 6, 8, 3), (7, 5, 2)], ids=str)
@pytest.mark.parametrize("start", [(0, 0), (1, 0), (1, 1)], ids=str)
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_every(shape, start, stride):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    expected = x[..., start[0] :: stride, start[1] :: stride, :]
    found, pull = jax.vjp(lambda x: every(x, stride, start), jnp.asarray(x))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        every(x, stride, start, (1, 2)), expected[..., :1, :2, :]
    )
    gradient = np.zeros_like(x)
    gradient[..., start[0] :: stride, start[1] :: stride, :] = expected
    np.testing.assert_array_equal(pull(jnp.asarray(expected))[0], gradient)


def taps(x):
    window = Window(3, stride=2)
    return sum(i * x + j * x**2 for i, j, x in gather_taps(x, window))


@pytest.mark.parametrize("function", [taps, halve], ids=lambda f: f.__name__)
@pytest.mark.parametrize("order", [0, 1])
def test_no_gather(function, order):
    """XLA:CPU takes minutes over a network of them."""
    if order:
        value = function
        function = jax.grad(lambda x: value(x).sum())
    text = lowered("cpu", function, jnp.ones((1, 8, 8, 2)))
    assert "stablehlo.slice" in text or order
    assert "gather" not in text and "scatter" not in text
