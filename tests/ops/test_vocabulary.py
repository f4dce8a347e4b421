"""The softmax over a vocabulary without logits, against plain JAX with them."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, derivatives, random_like

from jdarts import jit
from jdarts.ops.vocabulary import log_partition

pytestmark = pytest.mark.usefixtures("kernels")

# Time steps, columns, units, words: one tile with a rest of every kind; several panels
# and groups of them; a single value.
CASES = [(3, 2, 5, 7), (11, 3, 19, 461), (1, 1, 1, 2)]


def plain(x, table, bias, mask):
    return jax.nn.logsumexp((x * mask) @ table.T + bias, axis=-1)


def ours(x, table, bias, mask):
    return log_partition(x, mask, table, bias)[0]


def arguments(case, seed=0):
    times, columns, units, words = case
    shapes = (times, columns, units), (words, units), (words,)
    return random_like(jax.random.key(seed), tuple(map(jnp.zeros, shapes)))


def some_mask(case, rate=0.6):
    kept = jax.random.bernoulli(jax.random.key(5), 1 - rate, case[1:3])
    return kept / (1 - rate)


@functools.cache
def program(f, lowering):
    """All derivatives, compiled once for arguments of the same shapes and types."""

    def of(mask, point, tangents, cotangent):
        own = functools.partial(f, mask=mask)
        return derivatives(own, point, tangents, cotangent)

    return jit(of)


def check_all_derivatives(case, mask, tolerance, kernels):
    point, tangents = arguments(case), arguments(case, seed=1)
    cotangent = jax.random.normal(jax.random.key(2), case[:2])
    found, expected = (
        program(*which)(mask, point, tangents, cotangent)
        for which in ((ours, kernels), (plain, None))
    )
    assert_close(found, expected, tolerance)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_all_derivatives(case, x64, kernels):
    mask = jnp.ones(case[1:3]) if case == CASES[2] else some_mask(case)
    check_all_derivatives(case, mask, 1e-11, kernels)


def test_single_precision(kernels):
    # JAX 0.7 rounds the plain form's third order otherwise: 2.4e-5 between the two.
    check_all_derivatives(CASES[1], some_mask(CASES[1]), 4e-5, kernels)


@pytest.mark.parametrize("argument", range(3))
def test_second_derivatives_along_one_argument(argument, x64):
    """Tangents that are zero are not given to the kernels."""
    case = CASES[1]
    point, mask = arguments(case), some_mask(case)
    along = arguments(case, seed=1)[argument]

    def moved(f):
        def gradient(value):
            at = (*point[:argument], value, *point[argument + 1 :])
            return jax.grad(lambda *a: (f(*a, mask) ** 2).sum(), (0, 1, 2))(*at)

        return jax.jvp(gradient, (point[argument],), (along,))[1]

    assert_close(jit(moved, static_argnums=0)(ours), moved(plain), 1e-11)


def test_a_column_that_keeps_nothing(x64, kernels):
    case = CASES[1]
    mask = some_mask(case).at[1].set(0.0)
    check_all_derivatives(case, mask, 1e-11, kernels)


def test_the_word_with_the_largest_logit():
    case = CASES[1]
    x, table, bias = arguments(case)
    mask = some_mask(case)
    word = log_partition(x, mask, table, bias)[1]
    assert word.dtype == jnp.int32
    logits = (x * mask) @ table.T + bias
    assert np.array_equal(word, logits.argmax(-1))


def test_of_equal_logits_the_first_word():
    x, table, bias = jnp.zeros((1, 1, 1)), jnp.zeros((300, 1)), jnp.zeros(300)
    bias = bias.at[jnp.array([70, 290])].set(1.0)
    word = log_partition(x, jnp.ones((1, 1)), table, bias)[1]
    assert word.item() == 70


def test_large_logits():
    """Neither overflow nor underflow, whatever the scale."""
    x, table, bias = arguments(CASES[1])
    mask = some_mask(CASES[1])
    for scale, shift in ((300.0, 0.0), (1.0, 1e4), (1.0, -1e4)):
        fixed = table, bias + shift, mask
        (found, slope), (expected, expected_slope) = (
            jax.value_and_grad(lambda x, f=f, a=fixed: f(x, *a).sum())(scale * x)
            for f in (ours, plain)
        )
        assert_close(found, expected, 1e-6)
        assert_close(slope, expected_slope, 2e-3 if shift else 1e-5)


def test_words_that_cannot_come():
    """A whole panel of them, and more."""
    x, table, bias = arguments(CASES[1])
    mask, bias = some_mask(CASES[1]), bias.at[:100].set(-jnp.inf)
    found, expected = (
        jax.value_and_grad(lambda x, f=f: f(x, table, bias, mask).sum())(x)
        for f in (ours, plain)
    )
    assert_close(found, expected, 1e-5)


def test_the_mask_is_a_constant():
    x, table, bias = arguments(CASES[0])
    mask = some_mask(CASES[0])

    def slope(mask):
        return jax.jvp(lambda x: ours(x, table, bias, mask), (x,), (x,))[1].sum()

    assert_close(jax.grad(slope)(mask), jnp.zeros_like(mask), 0.0)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("which", ["mask", "table", "bias"])
def test_shapes_that_do_not_fit(which):
    x, table, bias = arguments(CASES[1])
    wrong = {"mask": some_mask(CASES[1]), "table": table, "bias": bias}
    wrong[which] = wrong[which][:1]
    with pytest.raises(ValueError, match="log_partition: states .*expected"):
        log_partition(x, **wrong)


def test_a_nan_is_not_hidden():
    x, table, bias = arguments(CASES[0])
    mask = jnp.ones(CASES[0][1:3])
    found = log_partition(x.at[1, 0, 2].set(jnp.nan), mask, table, bias)[0]
    assert jnp.isnan(found).sum() == 1 and jnp.isnan(found[1, 0])


@pytest.mark.parametrize(
    "axes", [(0, None, None, None), (None, 1, 0, None), (2, 0, 0, 1)], ids=str
)
def test_vmap(axes, x64):
    case = CASES[1]
    many = [
        a if d is None else jnp.stack([a, 2 * a, a - 1], axis=d)
        for a, d in zip((*arguments(case), some_mask(case)), axes, strict=True)
    ]

    def pull(f):
        def loss(*arguments):
            return (f(*arguments) ** 2).sum()

        return lambda *a: (f(*a), jax.grad(loss, (0, 1, 2))(*a))

    found, expected = (jit(jax.vmap(pull(f), axes))(*many) for f in (ours, plain))
    assert_close(found, expected, 1e-11)


def test_logits_are_not_kept():
    """For the gradient nothing is kept of the size of the logits."""
    case = CASES[1]
    point, mask = arguments(case), some_mask(case)
    kept = jax.vjp(lambda *a: ours(*a, mask), *point)[1]
    largest = max(leaf.size for leaf in jax.tree.leaves(kept))
    assert largest == max(a.size for a in point) < np.prod(case[:2]) * case[3]


def test_bfloat16_keeps_its_type():
    point = tuple(a.astype(jnp.bfloat16) for a in arguments(CASES[0]))
    mask = some_mask(CASES[0]).astype(jnp.bfloat16)
    found = ours(*point, mask)
    assert found.dtype == jnp.bfloat16
    assert_close(found, plain(*point, mask), 0.02)


DIVIDED = """
import chex
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from jdarts.ops.vocabulary import log_partition

chex.set_n_cpu_devices(2)
mesh = jax.make_mesh((2,), ("column",))
states = NamedSharding(mesh, PartitionSpec(None, "column"))
everywhere = NamedSharding(mesh, PartitionSpec())

def loss(x, mask, table, bias):
    return log_partition(x, mask, table, bias)[0].sum()

shapes = (4, 6, 5), (6, 5), (70, 5), (70,)
arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
where = states, NamedSharding(mesh, PartitionSpec("column")), everywhere, everywhere
step = jax.jit(jax.value_and_grad(loss, (0, 2, 3)), in_shardings=where)
print(step.lower(*arguments).compile().as_text())
"""


def test_columns_divided_over_devices_stay_so():
    """No device makes the logits of another one's columns."""
    done = subprocess.run(
        [sys.executable, "-c", DIVIDED],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "all-reduce" in done.stdout and "all-gather" not in done.stdout
