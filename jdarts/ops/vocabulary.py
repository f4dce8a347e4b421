"""The softmax over a vocabulary without its logits, with derivatives of every order.

For rows r = (time step, column) of states x, a mask m of the units that a column keeps,
a table E and a bias b the logits and their log-partition are

    s_rv = (m x)_r . E_v + b_v,    l_r = log sum_v exp(s_rv),    p_rv = exp(s_rv - l_r).

The logits of a segment of text are many times as large as everything else. The kernel
for CPU makes them tile by tile, again for each derivative, and only of units that are
kept: what dropout leaves out is no work. The derivatives of l are, for a cotangent g,

    dl_r = sum_v p_rv ds_rv,    ds = (m dx) . E + (m x) . dE + db
    g_x = m (d E),    g_E = d^T (m x),    g_b = sum_r d_r,    d = g p

and along dx, dE, db, dl and dg these gradients move by

    dg_x = m (d' E + g p dE),    dg_E = d'^T (m x) + (g p)^T (m dx),
    dg_b = sum_r d'_r,           d' = p (dg + g (ds - dl)).

As in `jdarts.ops.mixture` two primitives, `_push_p` for dl and `_pull_p` for the
gradients and what they move by, are each other's and their own transposes; l is an
operand of both. All other derivatives are those of the plain definition, with logits:
those of third order, and forward mode over forward mode.

Shapes: x ``[time, column, unit]``; m ``[column, unit]``; E ``[word, unit]``; b
``[word]``; l and g ``[time, column]``.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad
from jaxtyping import Array, Float, Int

from jdarts.ops import native
from jdarts.ops.primitive import (
    drop_unused,
    moves,
    new_primitive,
    plain_tangents,
    without_unused,
    zero_tangent,
)

__all__ = ["log_partition"]

_OPTIONAL = ("g", "dg", "dx", "dtable", "dbias", "dpartition")
_BITS = {name: 2 << i for i, name in enumerate(_OPTIONAL)}  # 1: the log-partition
_FIXED = 5  # operands before them: x, mask, table, bias, log-partition
_PRIMAL = ("x", "table", "bias")
_AXES = 3  # of x


def log_partition(
    x: Float[Array, "time column unit"],
    mask: Float[Array, "column unit"],
    table: Float[Array, "word unit"],
    bias: Float[Array, " word"],
) -> tuple[Float[Array, "time column"], Int[Array, "time column"]]:
    """The log-partition of the logits, and the first word with the largest one.

    Args:
      x: states, of the one type that all arguments have.
      mask: what they are multiplied by; taken for a constant.
      table: a vector for each word.
      bias: added to each word's logit; minus infinity for words that cannot come, of
        which not all may be.

    Returns:
      l in nats, differentiable in x, table and bias; an int32 index.

    Raises:
      ValueError: if the shapes do not fit.
    """
    shapes = [x.shape[1:], (len(table), x.shape[-1]), (len(table),)]
    if [a.shape for a in (mask, table, bias)] != shapes:
        raise ValueError(
            f"log_partition: states {x.shape}, mask {mask.shape}, table {table.shape}, "
            f"bias {bias.shape}; expected [time, column, unit], [column, unit], "
            "[word, unit], [word]"
        )
    mask = jax.lax.stop_gradient(mask)
    partition, word = _partition_p.bind(x, mask, table, bias)
    return partition, word


# --- plain definitions ---------------------------------------------------------------


# Time steps and columns stay separate axes: columns may be divided over devices.


def _kept(x: Array, mask: Array) -> Array:
    return x * mask[..., None, :, :]


def _logits(rows: Array, table: Array, bias: Array | None = None) -> Array:
    logits = jnp.einsum("...tcu,...wu->...tcw", rows, table)
    return logits if bias is None else logits + bias[..., None, None, :]


def _to_rows(d: Array, table: Array) -> Array:
    return jnp.einsum("...tcw,...wu->...tcu", d, table)


def _to_table(d: Array, rows: Array) -> Array:
    return jnp.einsum("...tcw,...tcu->...wu", d, rows)


def _partition_plain(x: Array, mask: Array, table: Array, bias: Array) -> tuple:
    logits = _logits(_kept(x, mask), table, bias)
    word = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    return jax.nn.logsumexp(logits, axis=-1), word


def _split(arrays: Sequence, given: tuple[str, ...]) -> dict[str, Any]:
    """The optional operands by name."""
    return dict(zip(given, arrays[_FIXED:], strict=True))


def _softmax(arrays: Sequence, ops: dict[str, Any]) -> tuple[Array, Any]:
    """``(p, ds)``, ``[time, column, word]``; 0 for ds where nothing moves."""
    x, mask, table, bias, partition, *_ = arrays
    rows = _kept(x, mask)
    p = jnp.exp(_logits(rows, table, bias) - partition[..., None])
    ds: Any = 0
    if "dx" in ops:
        ds = ds + _logits(_kept(ops["dx"], mask), table)
    if "dtable" in ops:
        ds = ds + _logits(rows, ops["dtable"])
    if "dbias" in ops:
        ds = ds + ops["dbias"][..., None, None, :]
    return p, ds


def _push_plain(*arrays: Array, given: tuple[str, ...]) -> Array:
    p, ds = _softmax(arrays, _split(arrays, given))
    return (p * ds).sum(axis=-1)


def _pull_plain(
    *arrays: Array, given: tuple[str, ...], wanted: tuple[str, ...]
) -> list[Array]:
    (x, mask, table, *_), ops = arrays, _split(arrays, given)
    p, ds = _softmax(arrays, ops)

    def by_row(name: str) -> Any:
        return ops[name][..., None] if name in ops else 0

    gp = by_row("g") * p
    d = p * by_row("dg") + gp * (ds - by_row("dpartition"))
    to_x, to_table = _to_rows(d, table), _to_table(d, _kept(x, mask))
    if "dtable" in ops:
        to_x = to_x + _to_rows(gp, ops["dtable"])
    if "dx" in ops:
        to_table = to_table + _to_table(gp, _kept(ops["dx"], mask))
    found = {"x": _kept(to_x, mask), "table": to_table, "bias": d.sum(axis=(-3, -2))}
    return [found[name] for name in wanted]


# --- CPU: compiled kernels -----------------------------------------------------------


def _usable(name: str, arrays: Sequence) -> bool:
    types = {a.dtype for a in arrays}
    return len(types) == 1 and native.usable(name, types.pop())


def _partition_cpu(*arrays: Array) -> tuple:
    if not _usable("vocabulary", arrays):
        return _partition_plain(*arrays)
    shape = arrays[0].shape[:-1]
    types = (arrays[0].dtype, jnp.int32)
    out = [jax.ShapeDtypeStruct(shape, dtype) for dtype in types]
    return tuple(native.call_over("vocabulary", out, arrays, shape[:-2]))


def _given_bits(given: tuple[str, ...]) -> np.int64:
    return np.int64(1 + sum(_BITS[name] for name in given))


def _push_cpu(*arrays: Array, given: tuple[str, ...]) -> Array:
    if not _usable("vocabulary_push", arrays):
        return _push_plain(*arrays, given=given)
    out = jax.ShapeDtypeStruct(arrays[4].shape, arrays[4].dtype)
    lead, bits = arrays[0].shape[:-_AXES], _given_bits(given)
    return native.call_over("vocabulary_push", out, arrays, lead, given=bits)


def _pull_cpu(
    *arrays: Array, given: tuple[str, ...], wanted: tuple[str, ...]
) -> list[Array]:
    if not _usable("vocabulary_pull", arrays):
        return _pull_plain(*arrays, given=given, wanted=wanted)
    like = dict(zip(_PRIMAL, (arrays[0], *arrays[2:4]), strict=True))
    out = [jax.ShapeDtypeStruct(like[n].shape, like[n].dtype) for n in wanted]
    bits = np.int64(sum(1 << _PRIMAL.index(name) for name in wanted))
    return list(
        native.call_over(
            "vocabulary_pull",
            out,
            arrays,
            arrays[0].shape[:-_AXES],
            given=_given_bits(given),
            wanted=bits,
        )
    )


# --- the primitives and their rules --------------------------------------------------

_partition_p = new_primitive(
    "log_partition", _partition_plain, _partition_cpu, multiple=True
)
_push_p = new_primitive("log_partition_push", _push_plain, _push_cpu)
_pull_p = new_primitive("log_partition_pull", _pull_plain, _pull_cpu, multiple=True)


def _bind(primitive: Any, fixed: Sequence, ops: dict[str, Any], **params: Any) -> Any:
    """The primitive on those of the optional operands that are not zero."""
    known = {name: ops[name] for name in _OPTIONAL if moves([ops.get(name)])}
    return primitive.bind(*fixed, *known.values(), given=tuple(known), **params)


def _along(values: Sequence, names: Sequence[str] = _PRIMAL) -> dict[str, Any]:
    return {f"d{name}": value for name, value in zip(names, values, strict=True)}


def _partition_jvp(primals: tuple, tangents: tuple) -> tuple:
    partition, word = out = _partition_p.bind(*primals)
    along = (tangents[0], *tangents[2:])
    still = [zero_tangent(o) for o in out]
    if not moves(along):
        return out, still
    moved = _bind(_push_p, (*primals, partition), _along(along))
    return out, [moved, still[1]]


def _push_jvp(primals: tuple, tangents: tuple, **params: Any) -> tuple:
    out = _push_p.bind(*primals, **params)
    return out, plain_tangents(_push_plain, primals, tangents, **params)


def _push_transpose(ct: Any, *arrays: Any, given: tuple[str, ...]) -> list:
    linear = arrays[_FIXED:]
    if type(ct) is ad.Zero:
        return [None] * _FIXED + [ad.Zero(a.aval) for a in linear]
    wanted = tuple(name[1:] for name in given)
    found = _bind(_pull_p, arrays[:_FIXED], {"dg": ct}, wanted=wanted)
    return [None] * _FIXED + list(found)


def _pull_jvp(
    primals: tuple, tangents: tuple, *, given: tuple[str, ...], wanted: tuple[str, ...]
) -> tuple:
    params = {"given": given, "wanted": wanted}
    out = _pull_p.bind(*primals, **params)
    if given != ("dg",):  # of third order
        return out, plain_tangents(_pull_plain, primals, tangents, **params)
    dx, _, dtable, dbias, dpartition, dg = tangents
    along = {**_along((dx, dtable, dbias)), "dpartition": dpartition, "dg": dg}
    if moves((dx, dtable, dbias, dpartition)):
        along["g"] = primals[-1]
    elif not moves((dg,)):
        return out, [zero_tangent(o) for o in out]
    return out, _bind(_pull_p, primals[:_FIXED], along, wanted=wanted)


def _pull_transpose(
    cts: Sequence, *arrays: Any, given: tuple[str, ...], wanted: tuple[str, ...]
) -> list:
    fixed, ops = arrays[:_FIXED], _split(arrays, given)
    if not moves(cts):
        zeros = {n: ad.Zero(a.aval) for n, a in ops.items() if n != "g"}
        return [None] * _FIXED + [zeros.get(name) for name in given]
    along, found = _along(cts, wanted), {}
    if "dg" in ops or "dpartition" in ops:
        found["dg"] = _bind(_push_p, fixed, along)
        if "dpartition" in ops:
            found["dpartition"] = -ops["g"] * found["dg"]
    to = tuple(name for name in _PRIMAL if f"d{name}" in ops)
    if to:
        gradients = _bind(_pull_p, fixed, {**along, "g": ops["g"]}, wanted=to)
        found |= _along(gradients, to)
    return [None] * _FIXED + [found.get(name) for name in given]


ad.primitive_jvps[_partition_p] = _partition_jvp
ad.primitive_jvps[_push_p] = _push_jvp
ad.primitive_jvps[_pull_p] = _pull_jvp
ad.primitive_transposes[_push_p] = _push_transpose
ad.primitive_transposes[_pull_p] = _pull_transpose
drop_unused(_pull_p, without_unused)
