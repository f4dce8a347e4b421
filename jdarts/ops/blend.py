"""Weighted sums of a few large arrays, with derivatives of every order.

A few rows of very many values times a small matrix: as matrix products, XLA transposes
the long rows back and forth. Two primitives, closed under differentiation,

    product:  out = sum_k A_k X_k + sum of addends      A_k [R, C_k], X_k [C_k, values]
    inner:    A   = Y X^T                               Y [R, values], X [C, values]

take each X, Y, out and addend as blocks of rows, arrays of their own: none is ever put
together or cut up. The derivative of a product has two terms for each k, again one
product; its transpose is one with ``A^T`` in X, and an inner one in A.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad
from jaxtyping import Array, Float

from jdarts.ops import native
from jdarts.ops.primitive import moves, new_primitive, zero_tangent

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
      addends: what is added as it is, ``[edge, ...]``; may be of a wider type.

    Returns:
      ``[edge, ...]``.
    """
    edges, form = len(share), values[0].shape[1:]
    alike = [x for x in addends if x.dtype == share.dtype]
    (out,) = _product_p.bind(
        share,
        *(x.reshape(len(x), -1) for x in (*values, *alike)),
        inputs=(tuple(map(len, values)),),
        addends=((edges,),) * len(alike),
        out=(edges,),
    )
    rest = [x for x in addends if x.dtype != share.dtype]
    return functools.reduce(jnp.add, rest, out.reshape(edges, *form))


# --- plain definitions, and their kernels ---------------------------------------------


def _stack(blocks: Sequence[Array]) -> Array:
    return blocks[0] if len(blocks) == 1 else jnp.concatenate(blocks, axis=-2)


def _product_plain(
    *arrays: Array, inputs: tuple[Rows, ...], addends: tuple[Rows, ...], out: Rows
) -> tuple[Array, ...]:
    matrices, given, added = _sorted(arrays, inputs, addends)
    terms = [_stack(blocks) for blocks in added]
    terms += [a @ _stack(x) for a, x in zip(matrices, given, strict=True)]
    total = functools.reduce(jnp.add, terms)
    ends = list(itertools.accumulate(out))
    return tuple(
        total[..., end - rows : end, :] for end, rows in zip(ends, out, strict=True)
    )


def _inner_plain(*blocks: Array, left: int) -> Array:
    return _stack(blocks[:left]) @ jnp.swapaxes(_stack(blocks[left:]), -1, -2)


def _sorted(
    arrays: Sequence[Any], inputs: tuple[Rows, ...], addends: tuple[Rows, ...]
) -> tuple[list, list[list], list[list]]:
    """Of a product's operands the matrices, and the blocks of each X and addend."""
    rest = iter(arrays)

    def take(count: int) -> list:
        return list(itertools.islice(rest, count))

    matrices = take(len(inputs))
    return (
        matrices,
        [take(len(rows)) for rows in inputs],
        [take(len(rows)) for rows in addends],
    )


def _product_cpu(*arrays: Array, **params: Any) -> tuple[Array, ...]:
    if not native.usable(arrays[0].dtype):
        return _product_plain(*arrays, **params)
    out = jax.eval_shape(functools.partial(_product_plain, **params), *arrays)
    count = np.int64(len(params["inputs"]))
    found = native.call_over(
        "blend_product", out, arrays, arrays[0].shape[:-2], matrices=count
    )
    return tuple(found)


def _inner_cpu(*blocks: Array, left: int) -> Array:
    if not native.usable(blocks[0].dtype):
        return _inner_plain(*blocks, left=left)
    out = jax.eval_shape(functools.partial(_inner_plain, left=left), *blocks)
    lead = out.shape[:-2]
    return native.call_over("blend_inner", out, blocks, lead, left=np.int64(left))


# --- the primitives and their rules ---------------------------------------------------

_product_p = new_primitive("blend", _product_plain, _product_cpu, multiple=True)
_inner_p = new_primitive("blend_inner", _inner_plain, _inner_cpu)


def _filled(tangents: Sequence) -> list:
    return [ad.instantiate_zeros(tangent) for tangent in tangents]


def _product_jvp(primals: tuple, tangents: tuple, **params: Any) -> tuple:
    value = _product_p.bind(*primals, **params)
    if not moves(tangents):
        return value, [zero_tangent(x) for x in value]
    matrices, given, _ = _sorted(primals, params["inputs"], params["addends"])
    along = _sorted(tangents, params["inputs"], params["addends"])
    factors, blocks, inputs = [], [], []
    for k, rows in enumerate(params["inputs"]):
        if moves(along[1][k]):
            factors.append(matrices[k])
            blocks += _filled(along[1][k])
            inputs.append(rows)
        if moves([along[0][k]]):
            factors.append(along[0][k])
            blocks += given[k]
            inputs.append(rows)
    moved = [k for k, own in enumerate(along[2]) if moves(own)]
    for k in moved:
        blocks += _filled(along[2][k])
    return value, _product_p.bind(
        *factors,
        *blocks,
        inputs=tuple(inputs),
        addends=tuple(params["addends"][k] for k in moved),
        out=params["out"],
    )


def _product_transpose(cotangents: Any, *arrays: Any, **params: Any) -> list:
    if not moves(cotangents):
        return [ad.Zero(x.aval) if ad.is_undefined_primal(x) else None for x in arrays]
    out, cotangents = params["out"], _filled(cotangents)
    matrices, given, added = _sorted(arrays, params["inputs"], params["addends"])
    of_matrices: list[Any] = [None] * len(matrices)
    of_blocks: list[Any] = []
    for k, (matrix, blocks) in enumerate(zip(matrices, given, strict=True)):
        if ad.is_undefined_primal(matrix):
            of_matrices[k] = _inner_p.bind(*cotangents, *blocks, left=len(out))
        if not any(map(ad.is_undefined_primal, blocks)):
            of_blocks += [None] * len(blocks)
            continue
        pulled = _product_p.bind(
            matrix.T, *cotangents, inputs=(out,), addends=(), out=params["inputs"][k]
        )
        of_blocks += _where_undefined(pulled, blocks)
    for rows, blocks in zip(params["addends"], added, strict=True):
        same = cotangents if rows == out else _split(_stack(cotangents), rows)
        of_blocks += _where_undefined(same, blocks)
    return of_matrices + of_blocks


def _where_undefined(found: Sequence, arrays: Sequence) -> list:
    pairs = zip(found, arrays, strict=True)
    return [f if ad.is_undefined_primal(a) else None for f, a in pairs]


def _split(x: Array, rows: Rows) -> list[Array]:
    return jnp.split(x, list(itertools.accumulate(rows))[:-1])


def _inner_jvp(primals: tuple, tangents: tuple, *, left: int) -> tuple:
    value = _inner_p.bind(*primals, left=left)
    terms = []
    if moves(tangents[:left]):
        first = _filled(tangents[:left])
        terms.append(_inner_p.bind(*first, *primals[left:], left=left))
    if moves(tangents[left:]):
        second = _filled(tangents[left:])
        terms.append(_inner_p.bind(*primals[:left], *second, left=left))
    return value, functools.reduce(jnp.add, terms) if terms else zero_tangent(value)


def _inner_transpose(cotangent: Any, *blocks: Any, left: int) -> list:
    first, second = blocks[:left], blocks[left:]
    moving = any(map(ad.is_undefined_primal, first))
    own, other = (first, second) if moving else (second, first)
    if type(cotangent) is ad.Zero:
        found = [ad.Zero(x.aval) if ad.is_undefined_primal(x) else None for x in own]
    else:
        known = (x.aval if ad.is_undefined_primal(x) else x for x in own)
        rows = tuple(x.shape[0] for x in known)
        pulled = _product_p.bind(
            cotangent if moving else cotangent.T,
            *other,
            inputs=(tuple(map(len, other)),),
            addends=(),
            out=rows,
        )
        found = _where_undefined(pulled, own)
    nothing = [None] * len(other)
    return [*found, *nothing] if moving else [*nothing, *found]


for _primitive, _jvp, _transpose in (
    (_product_p, _product_jvp, _product_transpose),
    (_inner_p, _inner_jvp, _inner_transpose),
):
    ad.primitive_jvps[_primitive] = _jvp
    ad.primitive_transposes[_primitive] = _transpose
