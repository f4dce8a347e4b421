"""The stage kernel against XLA's own convolution and its derivatives, in float64."""

import functools

import jax
import jax.numpy as jnp
import pytest
from helpers import assert_close, enable_x64, random_like
from jax import lax
from jax.interpreters import partial_eval
from orders import each_once, every_way

from jdarts import jit
from jdarts.ops.stage import separable_stage
from jdarts.ops.windows import Window

pytestmark = pytest.mark.usefixtures("kernels")

EDGES, BATCH = 2, 2
# windows, one source for all rows, height and width, channels
CASES = {
    "all ops": ((Window(3), Window(5), Window(3, 1, 2), Window(5, 1, 2)), True, 6, 8),
    "halving": ((Window(3, 2), Window(5, 2, 2)), True, 6, 4),
    "own sources": ((Window(3), Window(5)), False, 5, 3),
    "one op, seven taps": ((Window(7, 2),), False, 8, 2),
    "narrow": ((Window(3), Window(5, 1, 2)), True, 8, 2),  # pixels fill a vector
}


@pytest.fixture(scope="module", autouse=True)
def float64():
    with enable_x64(True):
        yield


@pytest.fixture(scope="module", params=CASES, name="case")
def case_fixture(request):
    return request.param, *drawn(request.param)


@functools.cache
def drawn(name):
    """(windows, arguments, tangents)."""
    windows, shared, size, channels = CASES[name]
    rows = EDGES * len(windows)
    shapes = (
        (1 if shared else rows, BATCH, size, size, channels),
        (rows, channels, channels),
        [(EDGES, w.kernel, w.kernel, channels) for w in windows],
    )
    leaves, form = jax.tree.flatten(
        shapes, is_leaf=lambda s: isinstance(s, tuple) and isinstance(s[0], int)
    )

    def draw(seed):
        keys = jax.random.split(jax.random.key(seed), len(leaves))
        values = map(jax.random.normal, keys, leaves)
        return jax.tree.unflatten(form, list(values))

    return windows, draw(0), draw(1)


def oracle(x, p, d, windows):
    """Row by row, by XLA's own grouped convolution."""
    outs = []
    for row in range(len(p)):
        window, kernel = windows[row // EDGES], d[row // EDGES][row % EDGES]
        source = jax.nn.relu(x[row if len(x) > 1 else 0])
        u = lax.conv_general_dilated(
            source,
            kernel[:, :, None],
            (window.stride,) * 2,
            ((window.padding,) * 2,) * 2,
            rhs_dilation=(window.dilation,) * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=x.shape[-1],
        )
        outs.append(u @ p[row])
    return jnp.stack(outs)


def loss_of(function, windows):
    """Curved in z."""
    return lambda x, p, d: jnp.sin(function(x, p, d, windows)).sum()


@functools.cache
def of_the_oracle(name):
    """(value, all derivatives), whichever lowering is compared with them."""
    windows, at, along = drawn(name)
    value = jit(lambda *a: oracle(*a, windows))(*at)
    return value, each_once(loss_of(oracle, windows), ARGUMENTS, jax.jit)(at, along)


ARGUMENTS = {"x": (0,), "weights": (1, 2)}


@pytest.fixture(scope="module")
def found(case, kernels):
    """(value, all derivatives) of the kernel, from one program."""
    _, windows, at, along = case
    derivatives = every_way(loss_of(separable_stage, windows), ARGUMENTS)
    return jit(lambda *a: (separable_stage(*a[0], windows), derivatives(*a)))(at, along)


def test_value(case, found):
    assert_close(found[0], of_the_oracle(case[0])[0], 1e-12)


def test_all_derivatives(case, found):
    assert_close(found[1], of_the_oracle(case[0])[1], 1e-11)


EXACT = {}  # of the oracle, by the parameters of the next test


@pytest.mark.parametrize("channels", [4, 8])
@pytest.mark.parametrize("side", [(8, 8), (5, 6), (5, 12)], ids=str)
def test_few_channels_in_float32(channels, side):
    """Several pixels share a vector, in products as well."""
    windows = (Window(3), Window(5, 1, 2))
    shapes = (1, BATCH, *side, channels), (4, channels, channels)
    like = (
        *map(jnp.zeros, shapes),
        [jnp.zeros((EDGES, w.kernel, w.kernel, channels)) for w in windows],
    )
    at, along = (random_like(jax.random.key(seed), like) for seed in (0, 1))

    def make(function, dtype):
        def derivatives(at, along):
            loss = lambda *a: jnp.sin(function(*a, windows)).sum()  # noqa: E731
            gradient = jax.value_and_grad(loss, (0, 1, 2))
            return jax.jvp(gradient, at, along)

        cast = lambda tree: jax.tree.map(lambda x: x.astype(dtype), tree)  # noqa: E731
        return jit(derivatives)(cast(at), cast(along))

    found = make(separable_stage, jnp.float32)
    if (channels, side) not in EXACT:
        EXACT[channels, side] = make(oracle, jnp.float64)
    expected = EXACT[channels, side]
    assert {x.dtype for x in jax.tree.leaves(found)} == {jnp.dtype("float32")}
    assert_close(found, expected, 2e-5)


def test_unused_gradients_are_dropped(case):
    _, windows, at, along = case

    def slope_of_x(at, along):
        loss = lambda *a: jnp.sin(separable_stage(*a, windows)).sum()  # noqa: E731
        gradient = jax.grad(loss, (0, 1, 2))
        return jax.jvp(lambda *a: gradient(*a), at, along)[1][0]

    jaxpr = jax.make_jaxpr(slope_of_x)(at, along).jaxpr
    used, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    found = [e.params for e in used.eqns if "wanted" in e.params]
    assert [(p["wanted"], p["given"]) for p in found] == [
        (("x",), ("t", "dt", "dp", "dd"))
    ]


def test_what_is_not_differentiated_is_not_computed():
    """An architecture's gradient needs no gradients of weights."""
    windows, x = (Window(3),), jnp.ones((1, 1, 4, 4, 2))
    p, d = jnp.ones((1, 2, 2)), [jnp.ones((1, 3, 3, 2))]
    gradient = jax.grad(lambda x: separable_stage(x, p, d, windows).sum())
    found = [e for e in jax.make_jaxpr(gradient)(x).eqns if "wanted" in e.params]
    assert [e.params["wanted"] for e in found] == [("x",)]
