"""Trees of arrays as vectors and back against plain concatenation, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, derivatives, random_like

from jdarts import jit
from jdarts.ops.pack import pack, unpack

pytestmark = pytest.mark.usefixtures("kernels")

TREE = {"a": (2, 3), "b": [(), (5,)], "c": {"d": (1, 2, 2), "e": (0, 4)}}


def tree(seed=0, dtype=jnp.float64):
    zeros = jax.tree.map(
        lambda shape: jnp.zeros(shape, dtype), TREE, is_leaf=lambda x: type(x) is tuple
    )
    return random_like(jax.random.key(seed), zeros)


def concatenated(t):
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(t)])


def split(vector, like):
    """By numpy's cutting, one leaf after the other."""
    leaves, form = jax.tree.flatten(like)
    parts = np.split(np.arange(vector.size), np.cumsum([x.size for x in leaves])[:-1])
    taken = [vector[p].reshape(x.shape) for p, x in zip(parts, leaves, strict=True)]
    return jax.tree.unflatten(form, taken)


def vector_of(t):
    (vector,) = pack(t).values()
    return vector


def test_values(x64):
    t = tree()
    packed = jit(pack)(t)
    assert list(packed) == ["float64"]
    assert_close(packed["float64"], concatenated(t), 0.0)
    assert_close(jit(unpack)(packed, t), t, 0.0)


def test_types_have_a_vector_each(x64):
    t = {"wide": tree(), "narrow": tree(1, jnp.float32)}
    packed = jit(pack)(t)
    assert {name: str(v.dtype) for name, v in packed.items()} == {
        "float32": "float32",
        "float64": "float64",
    }
    back = jit(unpack)(packed, t)
    assert_close(back, t, 0.0)
    assert [x.dtype for x in jax.tree.leaves(back)] == [
        x.dtype for x in jax.tree.leaves(t)
    ]


def test_nothing_to_pack():
    assert pack({}) == {}
    assert unpack({}, {"a": []}) == {"a": []}


def check_derivatives(function, plain, point, tangents):
    """Of their squares, as the functions themselves are linear."""
    cotangent = random_like(jax.random.key(2), jax.eval_shape(plain, *point))
    found, expected = (
        jit(derivatives, static_argnums=0)(
            lambda *a, f=f: jax.tree.map(jnp.square, f(*a)), point, tangents, cotangent
        )
        for f in (function, plain)
    )
    assert_close(found, expected, 1e-14)


def test_all_derivatives_of_pack(x64):
    point, tangents = (tuple(jax.tree.leaves(tree(seed))) for seed in (0, 1))
    check_derivatives(
        lambda *leaves: vector_of(leaves),
        lambda *leaves: concatenated(leaves),
        point,
        tangents,
    )


def test_all_derivatives_of_unpack(x64):
    like = tree()
    check_derivatives(
        lambda v: unpack({"float64": v}, like),
        lambda v: split(v, like),
        (concatenated(like),),
        (concatenated(tree(1)),),
    )


def test_a_part_that_is_not_read(x64):
    """Its gradient is zero, and that of a part that does not move is not asked for."""
    like = tree()

    def loss(v):
        return unpack({"float64": v}, like)["a"].sum()

    vector = concatenated(like)
    assert_close(jax.grad(loss)(vector), jnp.zeros(vector.size).at[:6].set(1.0), 0.0)

    def of_one(a):
        return (vector_of({**like, "a": a}) * vector).sum()

    assert_close(jax.grad(of_one)(like["a"]), like["a"], 1e-15)


@pytest.mark.parametrize("axis", [0, 1])
def test_vmap(axis, x64):
    many = [tree(seed) for seed in range(3)]
    stacked = {"a": jnp.stack([t["a"] for t in many], axis), "b": many[0]["b"]}
    axes = ({"a": axis, "b": None},)
    found = jit(jax.vmap(vector_of, axes))(stacked)
    expected = [concatenated({"a": t["a"], "b": many[0]["b"]}) for t in many]
    assert_close(found, jnp.stack(expected), 0.0)
    like = {"a": many[0]["a"], "b": many[0]["b"]}
    back = jit(jax.vmap(lambda v: unpack({"float64": v}, like)))(found)
    assert_close(back["a"], jnp.stack([t["a"] for t in many]), 0.0)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_derivatives_of_vmap(dtype, x64):
    """Unpacked, squared and packed again, under vmap."""
    like = tree(dtype=dtype)
    name = str(jnp.dtype(dtype))
    rows = jnp.stack([concatenated(tree(seed, dtype)) for seed in range(3)])

    def cubed(v):
        parts = unpack({name: v}, like)
        return pack(jax.tree.map(lambda x: x**3, parts))[name]

    def gradient(f):
        return jax.grad(lambda rows: (jax.vmap(f)(rows) ** 2).sum())

    for f in (
        lambda f: gradient(f),
        lambda f: jax.grad(lambda r: jnp.vdot(gradient(f)(r), r)),
    ):
        found, expected = (jit(f(g))(rows) for g in (cubed, lambda v: v**3))
        assert found.dtype == dtype
        assert_close(found, expected, 1e-5 if dtype == jnp.float32 else 1e-12)


def test_bfloat16_keeps_its_type():
    t = tree(dtype=jnp.bfloat16)
    packed = pack(t)
    assert packed["bfloat16"].dtype == jnp.bfloat16
    assert_close(unpack(packed, t), t, 0.0)
