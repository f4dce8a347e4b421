"""Weighted sums of blocks of rows against matrix products, in float64."""

import functools

import jax
import jax.numpy as jnp
import pytest
from helpers import assert_close, derivatives, random_like

from jdarts import jit
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
    ours, _ = both(case)
    assert_close(derivatives_of_square(ours, case), expected_derivatives(case), 1e-12)


def derivatives_of_square(f, case):
    point, tangents = arguments(case), arguments(case, seed=1)
    cotangent = random_like(jax.random.key(2), jax.eval_shape(f, *point))
    square = lambda *a: jnp.square(f(*a))  # noqa: E731
    return jit(derivatives, static_argnums=0)(square, point, tangents, cotangent)


@functools.cache
def expected_derivatives(case):
    """Whichever lowering is compared with them."""
    return derivatives_of_square(both(case)[1], case)


@pytest.mark.parametrize("moving", range(6))
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


@pytest.mark.parametrize("case", [CASES[0], CASES[3]], ids=str)
@pytest.mark.parametrize("times", [2, 3])  # 3: as many as there are edges and rows
def test_vmap(case, times, x64):
    """Of derivatives, and derivatives of it."""
    share, first, *rest = arguments(case)
    shares = jnp.stack([share - n for n in range(times)])
    moved = jnp.stack([jnp.sin(first + n) for n in range(times)], axis=2)

    def derivatives_of(f):
        def loss(share, first):
            return (f(share, first, *rest) ** 2).sum()

        def total(shares, moved):
            return jax.vmap(loss, (0, 2))(shares, moved).sum()

        def gradient(*point):
            return jax.grad(total, (0, 1))(*point)

        def slope(*point):
            return sum(map(jnp.vdot, gradient(*point), point))

        each = jax.vmap(jax.value_and_grad(loss, (0, 1)), (0, 2))
        point = shares, moved
        return (
            each(*point),
            gradient(*point),
            jax.jvp(gradient, point, point)[1],
            jax.grad(slope, (0, 1))(*point),
        )

    found, expected = (jit(derivatives_of, static_argnums=0)(f) for f in both(case))
    assert_close(found, expected, 1e-12)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    "wrong",
    [
        (jnp.zeros((3, 2)), [jnp.zeros((3, 5))], []),  # too many rows
        (jnp.zeros((3, 2)), [jnp.zeros((2, 5))], [jnp.zeros((1, 5))]),
        (jnp.zeros((3, 2)), [jnp.zeros((2, 5), jnp.bfloat16)], []),
        (jnp.zeros((3, 2)), [jnp.zeros((1, 5)), jnp.zeros((1, 4))], []),
    ],
    ids=["rows", "addend", "type", "form"],
)
def test_what_does_not_fit(wrong):
    with pytest.raises(TypeError, match="do not fit"):
        blend(*wrong)


def test_float32():
    case = CASES[3]
    point, tangents = (arguments(case, seed, jnp.float32) for seed in (0, 1))
    found, expected = (
        jit(lambda *a, f=f: jax.vjp(f, *a)[1](f(*tangents)))(*point) for f in both(case)
    )
    assert {x.dtype for x in found} == {jnp.dtype(jnp.float32)}
    assert_close(found, expected, 1e-5)


@pytest.mark.parametrize("wide", [False, True])
def test_bfloat16_keeps_its_type(wide):
    """But for addends of a wider one."""
    *point, addend = arguments(CASES[0], dtype=jnp.bfloat16)
    dtype = jnp.float32 if wide else jnp.bfloat16
    found, expected = (f(*point, addend.astype(dtype)) for f in both(CASES[0]))
    assert found.dtype == dtype
    assert_close(found, expected, 0.03)
