"""ReLU and a matrix product as one kernel against plain JAX, in float64."""

import functools

import jax
import jax.numpy as jnp
import pytest
from helpers import assert_close, derivatives, random_like

from jdarts import jit
from jdarts.ops.relu_product import relu_product

pytestmark = pytest.mark.usefixtures("kernels")

# Pixels, channels in and out: several blocks and one with a rest, narrow, wide.
CASES = [((2, 13, 29), 12, 5), ((7,), 3, 1), ((1, 2, 1), 21, 36)]


def plain(x, p):
    return jnp.matmul(jax.nn.relu(x), p)


def arguments(case, seed=0):
    pixels, channels, out = case
    shapes = jnp.zeros((*pixels, channels)), jnp.zeros((channels, out))
    return random_like(jax.random.key(seed), shapes)


def all_derivatives(f, case):
    point, tangents = arguments(case), arguments(case, seed=1)
    cotangent = random_like(jax.random.key(2), jax.eval_shape(plain, *point))
    return jit(derivatives, static_argnums=0)(f, point, tangents, cotangent)


@functools.cache
def expected_derivatives(case, wide):
    """Whichever lowering is compared with them."""
    assert wide == jax.config.jax_enable_x64
    return all_derivatives(plain, case)


def check_all_derivatives(case, tolerance):
    expected = expected_derivatives(case, jax.config.jax_enable_x64)
    assert_close(all_derivatives(relu_product, case), expected, tolerance)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_all_derivatives(case, x64):
    check_all_derivatives(case, 1e-12)


def test_a_zero_passes_no_gradient(x64):
    x, p = jnp.zeros((4, 3)), jnp.ones((3, 2))
    gradient = jax.grad(lambda x: relu_product(x, p).sum())(x)
    assert_close(gradient, jnp.zeros_like(x), 0.0)


def test_a_nan_is_not_hidden(x64):
    x, p = jnp.array([[jnp.nan, 1.0], [-1.0, 1.0]]), jnp.ones((2, 2))
    y = relu_product(x, p)
    assert jnp.isnan(y[0]).all() and (y[1] == 1).all()


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (1, 1)])
def test_vmap(axes, x64):
    many = [
        a if d is None else jnp.stack([a, 2 * a, a - 1], axis=d)
        for a, d in zip(arguments(CASES[0]), axes, strict=True)
    ]

    def pull(f):
        """The function and both gradients."""

        def loss(x, p):
            return (f(x, p) ** 2).sum()

        return lambda x, p: (f(x, p), jax.grad(loss, (0, 1))(x, p))

    found, expected = (
        jit(jax.vmap(pull(f), axes))(*many) for f in (relu_product, plain)
    )
    assert_close(found, expected, 1e-12)


def test_bfloat16_keeps_its_type():
    x, p = (a.astype(jnp.bfloat16) for a in arguments(CASES[0]))
    y = relu_product(x, p)
    assert y.dtype == jnp.bfloat16
    assert_close(y, plain(x, p), 0.02)


def test_the_rectified_map_is_not_kept():
    """For the gradient nothing is kept but the arguments."""
    kept = jax.vjp(relu_product, *arguments(CASES[0]))[1]
    sizes = sorted(leaf.size for leaf in jax.tree.leaves(kept) if leaf.ndim)
    pixels, channels, out = CASES[0]
    assert set(sizes) == {channels * out, 2 * 13 * 29 * channels}, sizes


@pytest.mark.parametrize("pixels", [(24,), (3, 10)], ids=str)
@pytest.mark.parametrize("channels", [4, 8])
def test_few_channels_in_float32(pixels, channels):
    """Several pixels share a vector."""
    check_all_derivatives((pixels, channels, channels), 1e-5)
