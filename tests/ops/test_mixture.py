"""The mixture kernel against its definition, differentiated by JAX, in float64."""

import functools

import jax
import jax.numpy as jnp
import pytest
from helpers import assert_close, enable_x64, random_like
from jax.interpreters import partial_eval
from orders import each_once, every_way

from jdarts import jit
from jdarts.ops.mixture import mixture

pytestmark = pytest.mark.usefixtures("kernels")

EPSILON = 1e-5
# ops, edges, batch, side, channels
CASES = {
    "vectors": (3, 2, 2, 9, 8),
    "single channels": (1, 3, 3, 3, 3),
    "pixels fill a vector": (2, 2, 2, 34, 2),  # and several blocks an image
}
ARGUMENTS = {"z": (0,), "share": (1,)}


@pytest.fixture(scope="module", autouse=True)
def float64():
    with enable_x64(True):
        yield


@pytest.fixture(scope="module", params=CASES, name="case")
def case_fixture(request):
    return request.param, *drawn(request.param)


@functools.cache
def drawn(name):
    """(edges, arguments, tangents)."""
    ops, edges, batch, side, channels = CASES[name]
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


def loss_of(function, edges):
    """Curved in the sum."""

    def value(z, share):
        y, mean, var = function(z, share, edges=edges, epsilon=EPSILON)
        return jnp.sin(2 * y).sum() + (mean**2 * var).sum()

    return value


@functools.cache
def of_the_oracle(name):
    """(value, all derivatives), whichever lowering is compared with them.

    Not compiled as a whole: XLA:CPU (jax 0.10.2) then loses an entry of the gradient in
    the shares of the largest case.
    """
    edges, at, along = drawn(name)
    value = oracle(*at, edges=edges, epsilon=EPSILON)
    return value, each_once(loss_of(oracle, edges), ARGUMENTS, lambda f: f)(at, along)


@pytest.fixture(scope="module")
def found(case, kernels):
    """(value, all derivatives) of the kernel, from one program."""
    _, edges, at, along = case
    derivatives = every_way(loss_of(mixture, edges), ARGUMENTS)
    value = functools.partial(mixture, edges=edges, epsilon=EPSILON)
    return jit(lambda *a: (value(*a[0]), derivatives(*a)))(at, along)


def test_value(case, found):
    assert_close(found[0], of_the_oracle(case[0])[0], 1e-12)


def test_all_derivatives(case, found):
    derivatives, expected = (dict(d) for d in (found[1], of_the_oracle(case[0])[1]))
    assert_close(derivatives.pop("third"), expected.pop("third"), 1e-10)
    assert_close(derivatives, expected, 1e-11)


def test_what_is_not_read_is_not_computed(case):
    _, edges, at, _ = case

    def gradient(z, share):
        def value(z, share):
            return jnp.sin(mixture(z, share, edges=edges, epsilon=EPSILON)[0]).sum()

        return jax.grad(value, (0, 1))(z, share)[1]

    jaxpr = jax.make_jaxpr(gradient)(*at).jaxpr
    used, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    assert [e.params["wanted"] for e in used.eqns if "wanted" in e.params] == [
        ("share",)
    ]
