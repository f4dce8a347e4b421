"""Functions that keep nothing but their arguments for their derivatives."""

import jax
import jax.numpy as jnp
from helpers import assert_close, random_like
from jax import lax

from jdarts.ops.recompute import recomputed


def plain(x, y):
    return jnp.tanh(x * y) * jnp.exp(jnp.sin(x)) + jnp.cos(y) * x


POINT = random_like(jax.random.key(0), (jnp.zeros((4, 5)), jnp.zeros(5)))
ALONG = random_like(jax.random.key(1), POINT)


def gradients(f):
    return jax.grad(lambda *a: (f(*a) ** 2).sum(), (0, 1))


def test_derivatives_are_those_of_the_function():
    def derivatives(f):
        def slope(*a):
            return sum(
                jnp.vdot(g, d) for g, d in zip(gradients(f)(*a), ALONG, strict=True)
            )

        return {
            "value": f(*POINT),
            "gradient": gradients(f)(*POINT),
            "forward over reverse": jax.jvp(gradients(f), POINT, ALONG)[1],
            "reverse over reverse": jax.grad(slope, (0, 1))(*POINT),
        }

    assert_close(derivatives(recomputed(plain)), derivatives(plain), 1e-5)


def kept(f, steps=3):
    """Sizes of what a linearised gradient of a loop keeps for each step."""

    def gradient(*a):
        def loss(x, y):
            return lax.scan(lambda x, _: (f(x, y), None), x, length=steps)[0].sum()

        return jax.grad(loss, (0, 1))(*a)

    linear = jax.linearize(gradient, *POINT)[1]
    leaves = jax.tree.leaves(linear)
    return sum(x.size / steps for x in leaves if x.ndim and x.shape[0] == steps)


def test_a_linearised_gradient_keeps_the_arguments_alone():
    argument = POINT[0].size  # the other one is the same in all steps
    # One copy for either pass, and the cotangent.
    assert kept(recomputed(plain)) <= 3 * argument
    assert kept(jax.checkpoint(plain)) > 4 * argument  # which is why
