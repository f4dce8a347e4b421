"""Weighted sums of a few large arrays, with derivatives of every order.

A few rows of very many values times a small matrix: as matrix products, XLA transposes
the long rows back and forth. Two primitives, closed under differentiation,

    product:  out = sum_k A_k X_k + sum of addends      A_k [R, C_k], X_k [C_k, values]
    inner:    A   = Y X^T                               Y [R, values], X [C, values]

take each X, Y and result as blocks of rows, separate arrays: none is ever put
together or cut up. The derivative of a product has two terms for each k, again one
product; its transpose is one with ``A^T`` in X, and an inner one in A.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad
from jaxtyping import Array, Float

from jdarts.ops import native
from jdarts.ops.primitive import (
    filled,
    moves,
    new_primitive,
    where_undefined,
    zero_tangent,
    zeros_where_undefined,
)

__all__ = ["blend"]

Rows = tuple[int, ...]  # of the blocks of one operand


def blend(
    share: Float[Array, "edge row"], values: Sequence[Array], addends: Sequence[Array]
) -> Array:
    """``share @ values``, plus the addends.

    Args:
      share: what each edge gets of each row.
      values: blocks of rows ``[rows, ...]`` of the type of `share`, at least one; as
        many rows as `share` has columns.
      addends: what is added as it is, ``[edge, ...]``; may be of another type.

    Returns:
      ``[edge, ...]``.

    Raises:
      TypeError: if shapes or types do not fit.
    """
    edges, form = len(share), values[0].shape[1:]
    rows = tuple(map(len, values))
    if (
        share.shape != (edges, sum(rows))
        or {x.shape[1:] for x in (*values, *addends)} != {form}
        or any(len(x) != edges for x in addends)
        or any(x.dtype != share.dtype for x in values)
    ):
        raise TypeError(
            f"share {jax.typeof(share)} of values {list(map(jax.typeof, values))} and "
            f"addends {list(map(jax.typeof, addends))}: shapes or types do not fit"
        )
    alike = [x for x in addends if x.dtype == share.dtype]
    size = math.prod(form)
    blocks = [x.reshape(len(x), size) for x in (*values, *alike)]
    (out,) = _product_p.bind(share, *blocks, inputs=(rows,), out=(edges,))
    rest = [x for x in addends if x.dtype != share.dtype]
    return functools.reduce(jnp.add, rest, out.reshape(edges, *form))


# --- plain definitions, and their kernels ---------------------------------------------


def _stack(blocks: Sequence[Array]) -> Array:
    return blocks[0] if len(blocks) == 1 else jnp.concatenate(blocks, axis=-2)


def _product_plain(
    *arrays: Array, inputs: tuple[Rows, ...], out: Rows
) -> tuple[Array, ...]:
    """The operands: each matrix, the blocks of each X, each addend (one block)."""
    matrices, given, terms = _grouped(arrays, inputs)
    terms += [a @ _stack(x) for a, x in zip(matrices, given, strict=True)]
    total = functools.reduce(jnp.add, terms)
    ends = itertools.accumulate(out)
    return tuple(
        total[..., end - rows : end, :] for end, rows in zip(ends, out, strict=True)
    )


def _inner_plain(*blocks: Array, left: int) -> Array:
    """The operands: the blocks of Y, `left` in number, and those of X."""
    return _stack(blocks[:left]) @ _stack(blocks[left:]).mT


def _grouped(
    arrays: Sequence[Any], inputs: tuple[Rows, ...]
) -> tuple[list, list[list], list]:
    """Of a product's operands the matrices, the blocks of each X, the addends."""
    rest = iter(arrays)
    matrices = list(itertools.islice(rest, len(inputs)))
    given = [list(itertools.islice(rest, len(rows))) for rows in inputs]
    return matrices, given, list(rest)


def _product_cpu(
    *arrays: Array, inputs: tuple[Rows, ...], out: Rows
) -> tuple[Array, ...]:
    plain = functools.partial(_product_plain, inputs=inputs, out=out)
    blocks = np.array([len(rows) for rows in inputs], np.int64)
    lead = arrays[0].shape[:-2]
    return native.call_or("blend_product", plain, arrays, lead, blocks=blocks)


def _inner_cpu(*blocks: Array, left: int) -> Array:
    plain = functools.partial(_inner_plain, left=left)
    lead = blocks[0].shape[:-2]
    return native.call_or("blend_inner", plain, blocks, lead, left=np.int64(left))


# --- the primitives and their rules ---------------------------------------------------

_product_p = new_primitive("blend", _product_plain, _product_cpu, multiple=True)
_inner_p = new_primitive("blend_inner", _inner_plain, _inner_cpu)


def _product_jvp(
    primals: tuple, tangents: tuple, *, inputs: tuple[Rows, ...], out: Rows
) -> tuple:
    value = _product_p.bind(*primals, inputs=inputs, out=out)
    if not moves(tangents):
        return value, [zero_tangent(x) for x in value]
    matrices, given, _ = _grouped(primals, inputs)
    along_matrices, along_given, along_addends = _grouped(tangents, inputs)
    factors, blocks, own = [], [], []
    for k, rows in enumerate(inputs):
        if moves(along_given[k]):
            factors.append(matrices[k])
            blocks += filled(along_given[k])
            own.append(rows)
        if moves([along_matrices[k]]):
            factors.append(along_matrices[k])
            blocks += given[k]
            own.append(rows)
    blocks += [tangent for tangent in along_addends if moves([tangent])]
    return value, _product_p.bind(*factors, *blocks, inputs=tuple(own), out=out)


def _product_transpose(
    cotangents: Any, *arrays: Any, inputs: tuple[Rows, ...], out: Rows
) -> list:
    if not moves(cotangents):
        return zeros_where_undefined(arrays)
    cotangents = filled(cotangents)
    matrices, given, addends = _grouped(arrays, inputs)
    of_matrices: list[Any] = [None] * len(matrices)
    of_blocks: list[Any] = []
    for k, (matrix, blocks) in enumerate(zip(matrices, given, strict=True)):
        if ad.is_undefined_primal(matrix):
            of_matrices[k] = _inner_p.bind(*cotangents, *blocks, left=len(out))
            of_blocks += [None] * len(blocks)
            continue
        pulled = _product_p.bind(matrix.mT, *cotangents, inputs=(out,), out=inputs[k])
        of_blocks += where_undefined(pulled, blocks)
    # There are addends only where the result is one block.
    of_addends = where_undefined(cotangents * len(addends), addends)
    return of_matrices + of_blocks + of_addends


def _inner_jvp(primals: tuple, tangents: tuple, *, left: int) -> tuple:
    value = _inner_p.bind(*primals, left=left)
    terms = []
    if moves(tangents[:left]):
        first = filled(tangents[:left])
        terms.append(_inner_p.bind(*first, *primals[left:], left=left))
    if moves(tangents[left:]):
        second = filled(tangents[left:])
        terms.append(_inner_p.bind(*primals[:left], *second, left=left))
    return value, functools.reduce(jnp.add, terms) if terms else zero_tangent(value)


def _inner_transpose(cotangent: Any, *blocks: Any, left: int) -> list:
    first, second = blocks[:left], blocks[left:]
    of_first = any(map(ad.is_undefined_primal, first))
    own, other = (first, second) if of_first else (second, first)
    if type(cotangent) is ad.Zero:
        return zeros_where_undefined(blocks)
    matrix = cotangent if of_first else cotangent.mT
    pulled = _product_p.bind(matrix, *other, inputs=(_rows(other),), out=_rows(own))
    found, nothing = where_undefined(pulled, own), [None] * len(other)
    return [*found, *nothing] if of_first else [*nothing, *found]


def _rows(blocks: Sequence) -> Rows:
    known = (x.aval if ad.is_undefined_primal(x) else x for x in blocks)
    return tuple(x.shape[-2] for x in known)


for _primitive, _jvp, _transpose in (
    (_product_p, _product_jvp, _product_transpose),
    (_inner_p, _inner_jvp, _inner_transpose),
):
    ad.primitive_jvps[_primitive] = _jvp
    ad.primitive_transposes[_primitive] = _transpose
