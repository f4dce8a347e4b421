"""Many arrays as one vector, and back: for what is done to all weights alike.

A supernet has hundreds of small arrays of weights. XLA compiles what an optimiser does
to each of them by itself: thousands of tiny loops, which take longer to compile and to
load than to run. On one vector they are a few.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import ad
from jaxtyping import Array, Float

from jdarts.ops import native
from jdarts.ops.fence import fence
from jdarts.ops.primitive import (
    filled,
    moves,
    new_primitive,
    where_undefined,
    zero_tangent,
    zeros_where_undefined,
)
from jdarts.types import PyTree

__all__ = ["pack", "unpack"]

Shapes = tuple[tuple[int, ...], ...]


def pack(tree: PyTree) -> dict[str, Float[Array, " _value"]]:
    """All values of a tree of arrays, one vector for each of its dtypes.

    Args:
      tree: of floating-point arrays.

    Returns:
      From a dtype's name to the values, in the order of the leaves.
    """
    leaves = jax.tree.leaves(tree)
    return {
        dtype: _pack_p.bind(*(leaves[i] for i in where), shapes=_shapes(leaves, where))
        for dtype, where in _by_dtype(leaves).items()
    }


def unpack(vectors: dict[str, Float[Array, " _value"]], like: PyTree) -> PyTree:
    """The inverse of `pack`.

    Args:
      vectors: as `pack` returns them.
      like: a tree of arrays whose structure, shapes and dtypes the result gets.
    """
    leaves, form = jax.tree.flatten(like)
    for dtype, where in _by_dtype(leaves).items():
        parts = _unpack_p.bind(vectors[dtype], shapes=_shapes(leaves, where))
        for i, part in zip(where, parts, strict=True):
            leaves[i] = part
    return jax.tree.unflatten(form, leaves)


def _by_dtype(leaves: Sequence[Array]) -> dict[str, list[int]]:
    """From each dtype to the places of its leaves."""
    found: dict[str, list[int]] = {}
    for i, leaf in enumerate(leaves):
        found.setdefault(str(leaf.dtype), []).append(i)
    return found


def _shapes(leaves: Sequence[Array], where: Sequence[int]) -> Shapes:
    return tuple(leaves[i].shape for i in where)


# --- plain definitions, and their kernels ---------------------------------------------


def _lead(arrays: Sequence[Array], shapes: Shapes) -> tuple[int, ...]:
    """The axes before the arrays' own ones."""
    return arrays[0].shape[: arrays[0].ndim - len(shapes[0])]


def _pack_plain(*arrays: Array, shapes: Shapes) -> Array:
    lead = _lead(arrays, shapes)
    # Fenced: a vector of so many parts must not be put together in each reader.
    return fence(jnp.concatenate([a.reshape(*lead, -1) for a in arrays], axis=-1))


def _unpack_plain(vector: Array, *, shapes: Shapes) -> tuple[Array, ...]:
    vector, ends = fence(vector), [0]
    for shape in shapes:
        ends.append(ends[-1] + math.prod(shape))
    return tuple(
        vector[..., start:end].reshape(*vector.shape[:-1], *shape)
        for start, end, shape in zip(ends[:-1], ends[1:], shapes, strict=True)
    )


def _pack_cpu(*arrays: Array, shapes: Shapes) -> Array:
    plain = functools.partial(_pack_plain, shapes=shapes)
    return native.call_or("pack", plain, arrays, _lead(arrays, shapes))


def _unpack_cpu(vector: Array, *, shapes: Shapes) -> tuple[Array, ...]:
    plain = functools.partial(_unpack_plain, shapes=shapes)
    return native.call_or("unpack", plain, (vector,), vector.shape[:-1])


# --- the primitives and their rules ---------------------------------------------------


_pack_p = new_primitive("pack", _pack_plain, _pack_cpu)
_unpack_p = new_primitive("unpack", _unpack_plain, _unpack_cpu, multiple=True)


def _pack_jvp(primals: tuple, tangents: tuple, **params: Any) -> tuple:
    vector = _pack_p.bind(*primals, **params)
    if not moves(tangents):
        return vector, zero_tangent(vector)
    return vector, _pack_p.bind(*filled(tangents), **params)


def _pack_transpose(cotangent: Any, *arrays: Any, **params: Any) -> list:
    if type(cotangent) is ad.Zero:
        return zeros_where_undefined(arrays)
    return where_undefined(_unpack_p.bind(cotangent, **params), arrays)


def _unpack_jvp(primals: tuple, tangents: tuple, **params: Any) -> tuple:
    parts = _unpack_p.bind(*primals, **params)
    if not moves(tangents):
        return parts, [zero_tangent(part) for part in parts]
    return parts, _unpack_p.bind(*tangents, **params)


def _unpack_transpose(cotangents: Any, vector: Any, **params: Any) -> list:
    if not moves(cotangents):
        return [ad.Zero(vector.aval)]
    return [_pack_p.bind(*filled(cotangents), **params)]


for _primitive, _jvp, _transpose in (
    (_pack_p, _pack_jvp, _pack_transpose),
    (_unpack_p, _unpack_jvp, _unpack_transpose),
):
    ad.primitive_jvps[_primitive] = _jvp
    ad.primitive_transposes[_primitive] = _transpose
