"""Every row of OPS keeps the contract of an op."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, directional_difference, random_like

from jdarts import UserError, jit, tree
from jdarts.ops import DRAWING, OPS, make_op
from jdarts.ops.init import draw

# Ops that draw have their own tests: `test_noise`.
NAMES = [name for name, row in OPS.items() if row is not None and name not in DRAWING]
SIZE, BATCH = 6, 2
STRIDES = (1, 2)

# Weights of one edge of C channels; an op that is not named here has none.
COUNTS = {
    "skip_connect": lambda c, stride: c * c if stride == 2 else 0,
    "sep_conv_3x3": lambda c, _: 2 * (9 * c + c * c),
    "sep_conv_5x5": lambda c, _: 2 * (25 * c + c * c),
    "sep_conv_7x7": lambda c, _: 2 * (49 * c + c * c),
    "dil_conv_3x3": lambda c, _: 9 * c + c * c,
    "dil_conv_5x5": lambda c, _: 25 * c + c * c,
    "conv_7x1_1x7": lambda c, _: 2 * 7 * c * c,
    "conv_3x1_1x3": lambda c, _: 2 * 3 * c * c,
    "conv_1x1": lambda c, _: c * c,
    "conv_3x3": lambda c, _: 9 * c * c,
    "group_conv_3x1_1x3": lambda c, _: 2 * 3 * c * c // 8 + c * c,
}


def width(name):
    """Channels to test the op with: as few as it takes."""
    return 8 if name.startswith("group_conv") else 4


def made(name, stride, edges, dtype=jnp.float64, **options):
    """(the op, what draws its weights, the shape of an input)."""
    op = make_op(name, edges=edges, channels=width(name), stride=stride, **options)
    x = jax.ShapeDtypeStruct((BATCH, SIZE, SIZE, width(name)), dtype)
    boxed = jax.eval_shape(lambda x: op.init(jax.random.key(0), x, train=False), x)
    params = boxed.get("params", {})
    return op, lambda: draw(jax.random.key(1), params) if params else {}, x


def build(name, stride, edges, dtype=jnp.float64, **options):
    """(the op, its drawn weights, an input)."""
    op, drawn, x = made(name, stride, edges, dtype, **options)
    return op, drawn(), random_like(jax.random.key(2), x)


def every(function):
    function = pytest.mark.parametrize("stride", STRIDES)(function)
    return pytest.mark.parametrize("name", NAMES)(function)


@every
@pytest.mark.parametrize("affine", [False, True])
def test_shapes_and_counts(name, stride, affine):
    """Stacked edges, halved maps, the dtype of the input."""
    for dtype in (jnp.float32, jnp.bfloat16):
        for edges in (1, 3):
            op, drawn, x = made(name, stride, edges, dtype, affine=affine)
            w = jax.eval_shape(drawn)
            call = lambda w, x, op=op: op.apply({"params": w}, x, train=True)  # noqa: E731
            out = jax.eval_shape(call, w, x)
            own = bool(w)
            size = SIZE // stride
            expected = (edges if own else 1, BATCH, size, size, width(name))
            assert (out.shape, out.dtype) == (expected, dtype)
            weights = {
                jax.tree_util.keystr(path): leaf
                for path, leaf in jax.tree.leaves_with_path(w)
                if not affine or path[-1].key not in ("scale", "shift")
            }
            count = COUNTS.get(name, lambda c, s: 0)(width(name), stride)
            assert tree.size(weights) == edges * count
            assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(w))


@every
def test_derivatives(name, stride, x64):
    """First and second, in both modes, against differences; compiled, and eager."""
    op, w, x = build(name, stride, edges=2)
    out = jax.eval_shape(lambda w, x: op.apply({"params": w}, x, train=True), w, x)
    cotangent = random_like(jax.random.key(3), out)
    direction = random_like(jax.random.key(4), (w, x))

    def f(point):
        w, x = point
        y = op.apply({"params": w}, x, train=True)
        return (jnp.sin(y) * cotangent).sum()

    def inner(a, b):
        return tree.dot(a, b)

    @jit
    def derivatives(point):
        gradient = jax.grad(f)
        along = jax.jvp(gradient, (point,), (direction,))[1]
        reverse = jax.grad(lambda p: inner(gradient(p), direction))(point)
        return f(point), gradient(point), along, reverse

    point = (w, x)
    value, gradient, along, reverse = derivatives(point)
    if stride == 2:  # eager, which takes a program for each operation
        assert_close(value, f(point), 1e-12)
    # Small, so that no ReLU or maximum changes sides within it.
    numeric = directional_difference(lambda p: derivatives(p)[:2], point, direction)
    assert_close(inner(gradient, direction), numeric[0], 1e-6)
    assert_close(along, numeric[1], 1e-5)
    assert_close(reverse, along, 1e-10)
    assert any(leaf.any() for leaf in jax.tree.leaves(gradient))


@every
def test_stacked_edges_are_separate_ones(name, stride, x64):
    """An op of three edges does what three ops of one edge do, and vmaps."""
    edges = 3
    op, w, x = build(name, stride, edges)
    single, one, _ = build(name, stride, 1)
    run = jit(lambda w, x: op.apply({"params": w}, x, train=True))
    alone = jit(lambda w, x: single.apply({"params": w}, x, train=True))
    together = run(w, x)
    assert jax.tree.structure(one) == jax.tree.structure(w)
    for edge in range(edges if w else 1):
        own = jax.tree.map(lambda leaf, e=edge: leaf[e : e + 1], w)
        assert_close(alone(own, x)[0], together[edge], 1e-12)
    if w:
        assert jnp.abs(together[0] - together[1]).max() > 1e-3
    xs = jnp.stack([x, 2 * x + 1])
    mapped = jit(jax.vmap(lambda x: op.apply({"params": w}, x, train=True)))(xs)
    assert_close(mapped, jnp.stack([run(w, x) for x in xs]), 1e-12)


@pytest.mark.parametrize("name", [n for n in NAMES if "_pool_" in n])
def test_pools_are_normalised_in_search_only(name, x64):
    _, _, x = build(name, 1, 1)
    plain, normal = (
        build(name, 1, 1, normalise_pools=on)[0].apply({}, x, train=True)
        for on in (False, True)
    )
    if name.endswith("_bn"):  # always is
        np.testing.assert_array_equal(plain, normal)
        plain = build(name[: -len("_bn")], 1, 1, normalise_pools=False)[0].apply(
            {}, x, train=True
        )
    assert_close(normal.mean((0, 1, 2, 3)), np.zeros(width(name)), 1e-12)
    deviation = np.asarray(plain).std((0, 1, 2, 3))
    centred = plain - plain.mean((0, 1, 2, 3))
    assert_close(normal, centred / np.sqrt(deviation**2 + 1e-5), 1e-10)


def test_identity(x64):
    op, w, x = build("skip_connect", 1, 4)
    np.testing.assert_array_equal(op.apply({}, x, train=True), x[None])


def test_none_adds_nothing():
    assert make_op("none", edges=2, channels=4) is None


def test_unknown_op():
    with pytest.raises(UserError, match="did you mean 'sep_conv_3x3'"):
        make_op("sep_conv_3x4", edges=1, channels=4)
