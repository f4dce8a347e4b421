"""The mixture kernel against its definition, differentiated by JAX, in float64."""

import jax
import jax.numpy as jnp
import pytest
from helpers import assert_close, enable_x64, random_like
from jax.interpreters import partial_eval

from jdarts.compile import jit
from jdarts.ops.mixture import mixture

pytestmark = pytest.mark.usefixtures("kernels")

EPSILON = 1e-5
# ops, edges, batch, side, channels
CASES = {
    "vectors": (3, 2, 2, 9, 8),
    "single channels": (1, 3, 3, 3, 3),
    "pixels fill a vector": (2, 2, 2, 34, 2),  # and several blocks an image
}
ARGUMENTS = {"z": (0,), "share": (1,), "both": (0, 1)}


@pytest.fixture(scope="module", autouse=True)
def float64():
    with enable_x64(True):
        yield


@pytest.fixture(scope="module", params=CASES, name="case")
def case_fixture(request):
    ops, edges, batch, side, channels = CASES[request.param]
    like = jnp.zeros((ops * edges, batch, side, side, channels)), jnp.zeros(ops * edges)
    at, along = (random_like(jax.random.key(seed), like) for seed in (0, 1))
    return edges, (3 + 2 * at[0], at[1]), along


def oracle(z, share, *, edges, epsilon):
    axes = (1, 2, 3)
    mean, var = z.mean(axes), z.var(axes)
    wide = (slice(None), None, None, None)
    n = (z - mean[wide]) / jnp.sqrt(var[wide] + epsilon)
    rows = share[:, None, None, None, None] * n
    return sum(rows[i : i + edges] for i in range(0, len(z), edges)), mean, var


def both(case, make, tolerance=1e-11):
    """`make` of a loss that is curved in the sum, for the kernel and the oracle."""
    edges, at, along = case

    def loss(function):
        def value(z, share):
            y, mean, var = function(z, share, edges=edges, epsilon=EPSILON)
            return jnp.sin(2 * y).sum() + (mean**2 * var).sum()

        return value

    # Not compiled as a whole: XLA:CPU (jax 0.10.2) then loses an entry of the gradient
    # in the shares of the largest case.
    kernel, expected = jit(make(loss(mixture))), make(loss(oracle))
    assert_close(kernel(at, along), expected(at, along), tolerance)


def test_value(case):
    edges, at, _ = case
    kernel, expected = (
        jit(lambda *a, f=f: f(*a, edges=edges, epsilon=EPSILON))
        for f in (mixture, oracle)
    )
    assert_close(kernel(*at), expected(*at), 1e-12)


@pytest.mark.parametrize("which", ARGUMENTS)
def test_gradient(case, which):
    both(case, lambda loss: lambda at, _: jax.grad(loss, ARGUMENTS[which])(*at))


@pytest.mark.parametrize("which", ARGUMENTS)
def test_derivative_along_some_arguments(case, which):
    """Of the value and of all gradients, along the others not at all."""

    def make(loss):
        def derivative(at, along):
            move = ARGUMENTS[which]

            def moving(*moved):
                arguments = list(at)
                for i, value in zip(move, moved, strict=True):
                    arguments[i] = value
                return jax.value_and_grad(loss, (0, 1))(*arguments)

            start, tangents = ([a[i] for i in move] for a in (at, along))
            return jax.jvp(moving, start, tangents)[1]

        return derivative

    both(case, make)


@pytest.mark.parametrize("part", [0, 1])
def test_derivative_of_one_gradient(case, part):
    """Where the other is not read, it is not computed either."""

    def make(loss):
        gradient = jax.grad(loss, (0, 1))
        return lambda at, along: jax.jvp(gradient, at, along)[1][part]

    both(case, make)


def test_reverse_over_reverse(case):
    def make(loss):
        def slope(at, along):
            gradient = jax.grad(loss, (0, 1))(*at)
            return sum(jnp.vdot(g, a) for g, a in zip(gradient, along, strict=True))

        return jax.grad(slope)

    both(case, make)


def test_third_derivative(case):
    def make(loss):
        def second(at, along):
            return jax.jvp(jax.grad(loss, (0, 1)), at, along)[1]

        return lambda at, along: jax.jvp(lambda at: second(at, along), (at,), (along,))[
            1
        ]

    both(case, make, 1e-10)


def test_vmap(case):
    def make(loss):
        gradient = jax.grad(loss, (0, 1))
        stacked = jax.vmap(lambda at: gradient(*at))
        return lambda *pair: stacked(jax.tree.map(lambda *a: jnp.stack(a), *pair))

    both(case, make)


def test_what_is_not_read_is_not_computed(case):
    edges, at, _ = case

    def gradient(z, share):
        def value(z, share):
            return jnp.sin(mixture(z, share, edges=edges, epsilon=EPSILON)[0]).sum()

        return jax.grad(value, (0, 1))(z, share)[1]

    jaxpr = jax.make_jaxpr(gradient)(*at).jaxpr
    used, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    assert [e.params["wanted"] for e in used.eqns if "wanted" in e.params] == [
        ("share",)
    ]
