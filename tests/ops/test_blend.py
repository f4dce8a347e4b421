"""Weighted sums of blocks of rows against matrix products, in float64."""

import jax
import jax.numpy as jnp
import pytest
from helpers import assert_close, derivatives, random_like

from jdarts.compile import jit
from jdarts.ops.blend import blend

pytestmark = pytest.mark.usefixtures("kernels")

# Edges, rows of the blocks, number of addends, form of a value: one piece and a rest.
CASES = [
    (3, (1, 1, 1), 2, (2, 5, 7)),
    (1, (1,), 0, (3,)),
    (2, (2, 1), 1, (3, 1027)),
    (4, (4, 1, 3), 1, (9, 1024)),
]


def plain(share, *blocks, count):
    values, addends = blocks[:count], blocks[count:]
    return sum(addends, jnp.tensordot(share, jnp.concatenate(values), axes=1))


def blended(share, *blocks, count):
    return blend(share, blocks[:count], blocks[count:])


def arguments(case, seed=0, dtype=jnp.float64):
    edges, rows, addends, form = case
    shapes = [(edges, sum(rows)), *((r, *form) for r in rows)]
    shapes += [(edges, *form)] * addends
    zeros = tuple(jnp.zeros(shape, dtype) for shape in shapes)
    return random_like(jax.random.key(seed), zeros)


def both(case):
    count = len(case[1])
    return [lambda *a, f=f: f(a[0], *a[1:], count=count) for f in (blended, plain)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_all_derivatives(case, x64):
    """Of its square, as it is linear in each operand."""
    point, tangents = arguments(case), arguments(case, seed=1)
    functions = both(case)
    cotangent = random_like(jax.random.key(2), jax.eval_shape(functions[1], *point))
    found, expected = (
        jit(derivatives, static_argnums=0)(
            lambda *a, f=f: jnp.square(f(*a)), point, tangents, cotangent
        )
        for f in functions
    )
    assert_close(found, expected, 1e-12)


@pytest.mark.parametrize("moving", range(5))
def test_derivatives_in_one_operand(moving, x64):
    """The others do not move, and get no gradient."""
    case = CASES[0]
    point, other = arguments(case), arguments(case, seed=1)

    def derivatives_of(f):
        def square(x):
            return jnp.sum(f(*point[:moving], x, *point[moving + 1 :]) ** 2)

        along = (point[moving],), (other[moving],)
        return jax.grad(square)(point[moving]), jax.jvp(jax.grad(square), *along)

    found, expected = (derivatives_of(f) for f in both(case))
    assert_close(found, expected, 1e-12)


def test_vmap(x64):
    case = CASES[0]
    share, *blocks = arguments(case)
    shares = jnp.stack([share, 2 * share, share - 1])
    moved = jnp.stack([blocks[0], blocks[0] + 1, -blocks[0]], axis=2)

    def gradient(f):
        def loss(share, first):
            return (f(share, first, *blocks[1:]) ** 2).sum()

        return jax.vmap(jax.value_and_grad(loss, (0, 1)), (0, 2))

    found, expected = (jit(gradient(f))(shares, moved) for f in both(case))
    assert_close(found, expected, 1e-12)


def test_float32():
    case = CASES[3]
    point = arguments(case, dtype=jnp.float32)
    found, expected = (jit(f)(*point) for f in both(case))
    assert found.dtype == jnp.float32
    assert_close(found, expected, 1e-5)


@pytest.mark.parametrize("wide", [False, True])
def test_bfloat16_keeps_its_type(wide):
    """But for addends of a wider one."""
    *point, addend = arguments(CASES[0], dtype=jnp.bfloat16)
    dtype = jnp.float32 if wide else jnp.bfloat16
    found, expected = (f(*point, addend.astype(dtype)) for f in both(CASES[0]))
    assert found.dtype == dtype
    assert_close(found, expected, 0.03)
