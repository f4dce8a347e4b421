"""The dense convolution against XLA's own and its derivatives, in float64."""

import re

import jax
import jax.numpy as jnp
import pytest
from helpers import assert_close, random_like
from jax import lax

from jdarts import jit
from jdarts.ops.dense import conv

pytestmark = pytest.mark.usefixtures("x64")

# kernel, stride, padding, height and width
CASES = [
    (3, 1, 1, 5, 6),
    (3, 2, 1, 7, 6),
    (5, 2, 2, 6, 5),
    (2, 1, 0, 4, 3),
    (2, 3, 0, 9, 8),
]


def oracle(x, w, *, stride, padding):
    return lax.conv_general_dilated(
        x,
        w,
        (stride,) * 2,
        ((padding,) * 2,) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@pytest.fixture(params=CASES, name="case")
def case_fixture(request):
    kernel, stride, padding, height, width = request.param
    like = jnp.zeros((2, height, width, 3)), jnp.zeros((kernel, kernel, 3, 4))
    at, along = (random_like(jax.random.key(seed), like) for seed in (0, 1))
    return at, along, {"stride": stride, "padding": padding}


def both(case, make):
    at, along, window = case

    def loss(function):
        return lambda x, w: jnp.sin(function(x, w, **window)).sum()

    found, expected = (jit(make(loss(f)))(at, along) for f in (conv, oracle))
    assert_close(found, expected, 1e-12)


def test_value_and_gradients(case):
    both(case, lambda loss: lambda at, _: jax.value_and_grad(loss, (0, 1))(*at))


def test_forward_over_reverse(case):
    """Which takes the gradients' derivatives in each of their arguments."""
    both(
        case,
        lambda loss: lambda at, along: jax.jvp(jax.grad(loss, (0, 1)), at, along),
    )


def test_reverse_over_reverse(case):
    def make(loss):
        def slope(at, along):
            x, w = jax.grad(loss, (0, 1))(*at)
            return jnp.vdot(x, along[0]) + jnp.vdot(w, along[1])

        return jax.grad(slope)

    both(case, make)


def test_vmap(case):
    """Over both, and over images alone."""

    def make(loss):
        gradient = jax.grad(loss, (0, 1))

        def each(at, along):
            xs, ws = (jnp.stack(pair) for pair in zip(at, along, strict=True))
            shared = jax.vmap(gradient, (0, None))(xs, at[1])
            return jax.vmap(gradient)(xs, ws), shared

        return each

    both(case, make)


def test_vmap_of_images_alone_is_a_larger_batch():
    images, w = jnp.ones((7, 2, 5, 5, 3)), jnp.ones((3, 3, 3, 4))
    gradient = jax.grad(lambda x, w: (conv(x, w, padding=1) ** 2).sum())
    jaxpr = jax.make_jaxpr(jax.vmap(gradient, (0, None)))(images, w)
    shapes = {e.outvars[0].aval.shape for e in jaxpr.eqns if "conv" in str(e.primitive)}
    assert shapes and all(len(shape) == 4 and shape[0] == 14 for shape in shapes)


@pytest.mark.usefixtures("unchecked_shapes")
def test_a_kernel_that_does_not_fit():
    with pytest.raises(TypeError, match=r"conv: images \(1, 5, 5, 3\) and kernel"):
        conv(jnp.ones((1, 5, 5, 3)), jnp.ones((3, 3, 2, 4)))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="about XLA:CPU")
@pytest.mark.parametrize("stride", [1, 2])
def test_all_convolutions_of_a_loop_have_the_fast_layout(stride):
    def loop(x, w):
        def loss(x, w):
            return (conv(x, w, stride=stride, padding=1) ** 2).sum()

        def step(_, carry):
            slopes = jax.grad(loss, (0, 1))
            moved = jax.jvp(slopes, carry, carry)[1]
            return tuple(a - 0.1 * b for a, b in zip(carry, moved, strict=True))

        return lax.fori_loop(0, 3, step, (x, w))

    x, w = jnp.ones((2, 8, 8, 3), jnp.float32), jnp.ones((3, 3, 3, 4), jnp.float32)
    text = jit(loop).lower(x, w).compile().as_text()
    layouts = re.findall(r" convolution\(.*dim_labels=([^,\s]+)", text)
    assert len(layouts) >= 5 and set(layouts) == {"b01f_01io->b01f"}
