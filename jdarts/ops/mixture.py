"""The weighted sum of normalised values as one kernel, with its derivatives.

A mixed edge ends in the sum over ops s of share times normalised value,

    y_e = sum_s share_se n_se,    n = (z - mean) r,    r = 1 / sqrt(var + eps),

with mean and biased variance over the batch. Normalised values and their weighted
copies need never be written to memory: with <.> the mean over batch, height and width
and ``P(t) = t - <t> - n <n t>``, what is needed of them is

    dy = sum_s share r P(dz) + dshare n
    gradients of <c, y>:  g_z = share r P(c),  g_share = M sum_channels <n c>

(M values per channel), and along dz, dshare and dc these gradients move by

    dg_z = (dshare r - share r^2 <n dz>) P(c) + share r (P(dc) - dn <n c> - n <dn c>)
    dg_share = M sum_channels <dn c> + <n dc>,    dn = r P(dz).

As in `jdarts.ops.stage` two kernels, `_output_p` for the derivative of y and `_input_p`
for the gradients and their tangents, are each other's and their own transposes. Mean
and r are operands only to spare computing them again: derivatives in z are total ones.
Derivatives of third order and more are those of the plain definition.

Shapes: z ``[op edge, batch, height, width, channel]``, with row ``s E + e`` for op s on
edge e; y ``[edge, batch, height, width, channel]``; share ``[op edge]``; statistics
``[op edge, channel]``.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad
from jaxtyping import Array, Float

from jdarts.ops import native
from jdarts.ops.moments import batch_mean, centre, per_channel, widened
from jdarts.ops.primitive import (
    drop_unused,
    moves,
    new_primitive,
    plain_tangents,
    without_unused,
    zero_tangent,
)

__all__ = ["mixture"]

_OPTIONAL = ("c", "dc", "dz", "dshare")
_BITS = {name: 1 << i for i, name in enumerate(_OPTIONAL)}
_FIXED = 4  # operands before them: z, share, mean, r


def mixture(
    z: Float[Array, "row batch height width channel"],
    share: Float[Array, " row"],
    *,
    edges: int,
    epsilon: float,
) -> tuple[
    Float[Array, "edge batch height width channel"],
    Float[Array, "row channel"],
    Float[Array, "row channel"],
]:
    """Normalises, weights and sums up; see the module for shapes and equations.

    Args:
      z: the values of all ops on all edges.
      share: the mixing weight of each row.
      edges: number of edges, which divides the number of rows.
      epsilon: added to the variance, > 0.

    Returns:
      The sum, in float32 at least, and mean and biased variance of each row.
    """
    y, mean, _, var = _mixture_p.bind(z, share, edges=edges, epsilon=epsilon)
    return y, mean, var


# --- plain definitions ---------------------------------------------------------------


def _mixture_plain(z: Array, share: Array, *, edges: int, epsilon: float) -> tuple:
    centred, r, mean, var = centre(z, epsilon)
    weighted = centred * per_channel(r * share[..., None])
    axis = weighted.ndim - 5
    stacked = weighted.reshape(*share.shape[:-1], -1, edges, *z.shape[-4:])
    return stacked.sum(axis), mean, r, var


def _split(
    arrays: Sequence, given: tuple[str, ...]
) -> tuple[tuple[Any, Any], dict[str, Any]]:
    """z and share; the optional operands by name."""
    z, share, *_ = arrays
    return (z, share), dict(zip(given, arrays[_FIXED:], strict=True))


def _tangents(primals: tuple, ops: dict[str, Any]) -> tuple:
    """Those of z and share, with zeros filled in."""
    found = (ops.get("dz"), ops.get("dshare"))
    pairs = zip(found, primals, strict=True)
    return tuple(jnp.zeros_like(p) if t is None else t for t, p in pairs)


def _output_plain(*arrays: Array, given: tuple[str, ...], **params: Any) -> Array:
    primals, ops = _split(arrays, given)

    def value(z: Array, share: Array) -> Array:
        return _mixture_plain(z, share, **params)[0]

    return jax.jvp(value, primals, _tangents(primals, ops))[1]


def _input_plain(
    *arrays: Array, given: tuple[str, ...], wanted: tuple[str, ...], **params: Any
) -> list[Array]:
    primals, ops = _split(arrays, given)

    def gradients(z: Array, share: Array, c: Array) -> list[Array]:
        value = jax.vjp(lambda *a: _mixture_plain(*a, **params)[0], z, share)[1]
        found = dict(zip(("z", "share"), value(c), strict=True))
        return [found[name] for name in wanted]

    if given == ("dc",):
        return gradients(*primals, ops["dc"])
    dc = ops.get("dc", jnp.zeros_like(ops["c"]))
    moved = (*_tangents(primals, ops), dc)
    return jax.jvp(gradients, (*primals, ops["c"]), moved)[1]


# --- CPU: compiled kernels -----------------------------------------------------------


def _shape_of_sum(z: Array, edges: int) -> jax.ShapeDtypeStruct:
    wide = jnp.promote_types(z.dtype, jnp.float32)
    return jax.ShapeDtypeStruct((*z.shape[:-5], edges, *z.shape[-4:]), wide)


def _mixture_cpu(z: Array, share: Array, *, edges: int, epsilon: float) -> tuple:
    if not native.usable("mixture", z.dtype):
        return _mixture_plain(z, share, edges=edges, epsilon=epsilon)
    y = _shape_of_sum(z, edges)
    small = jax.ShapeDtypeStruct((*share.shape, z.shape[-1]), y.dtype)
    arrays, eps = (z, share.astype(y.dtype)), np.float64(epsilon)
    found = native.call_over(
        "mixture", [y, small, small, small], arrays, z.shape[:-5], eps=eps
    )
    return tuple(found)


def _given_bits(given: tuple[str, ...]) -> np.int64:
    return np.int64(sum(_BITS[name] for name in given))


def _output_cpu(
    *arrays: Array, given: tuple[str, ...], edges: int, epsilon: float
) -> Array:
    z = arrays[0]
    if not native.usable("mixture_output", z.dtype):
        return _output_plain(*arrays, given=given, edges=edges, epsilon=epsilon)
    out, bits = _shape_of_sum(z, edges), _given_bits(given)
    return native.call_over("mixture_output", out, arrays, z.shape[:-5], given=bits)


def _input_cpu(
    *arrays: Array,
    given: tuple[str, ...],
    wanted: tuple[str, ...],
    edges: int,
    epsilon: float,
) -> list[Array]:
    params = {"edges": edges, "epsilon": epsilon, "given": given, "wanted": wanted}
    if not native.usable("mixture_input", arrays[0].dtype):
        return _input_plain(*arrays, **params)
    out = arrays[:1] * ("z" in wanted) + arrays[1:2] * ("share" in wanted)
    return native.call_over(
        "mixture_input",
        [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in out],
        arrays,
        arrays[0].shape[:-5],
        edges=np.int64(edges),
        given=_given_bits(given),
        to_z="z" in wanted,
        to_share="share" in wanted,
    )


# --- the primitives and their rules --------------------------------------------------

_mixture_p = new_primitive("mixture", _mixture_plain, _mixture_cpu, multiple=True)
_output_p = new_primitive("mixture_output", _output_plain, _output_cpu)
_input_p = new_primitive("mixture_input", _input_plain, _input_cpu, multiple=True)


def _bind(primitive: Any, fixed: Sequence, ops: dict[str, Any], **params: Any) -> Any:
    """The primitive on those of the optional operands that are not zero."""
    known = {name: ops[name] for name in _OPTIONAL if moves([ops.get(name)])}
    return primitive.bind(*fixed, *known.values(), given=tuple(known), **params)


def _mixture_jvp(primals: tuple, tangents: tuple, **params: Any) -> tuple:
    z, share = primals
    dz, dshare = tangents
    y, mean, r, var = out = _mixture_p.bind(z, share, **params)
    if not moves(tangents):
        return out, [zero_tangent(o) for o in out]
    along = {"dz": dz, "dshare": dshare}
    dy = _bind(_output_p, (z, share, mean, r), along, **params)
    if type(dz) is ad.Zero:
        return out, [dy, *(zero_tangent(o) for o in (mean, r, var))]
    d_mean = batch_mean(widened(dz))
    d_var = 2 * batch_mean((widened(z) - per_channel(mean)) * dz)
    return out, [dy, d_mean, -0.5 * r**3 * d_var, d_var]


def _output_transpose(ct: Any, *arrays: Any, given: tuple, **params: Any) -> list:
    linear = arrays[_FIXED:]
    if type(ct) is ad.Zero:
        return [None] * _FIXED + [ad.Zero(a.aval) for a in linear]
    wanted = tuple(name[1:] for name in given)  # dz, dshare: gradients in z, share
    found = _bind(_input_p, arrays[:_FIXED], {"dc": ct}, wanted=wanted, **params)
    return [None] * _FIXED + list(found)


def _input_jvp(
    primals: tuple, tangents: tuple, *, given: tuple, wanted: tuple, **params: Any
) -> tuple:
    out = _input_p.bind(*primals, given=given, wanted=wanted, **params)
    if given != ("dc",):  # of third order
        params |= {"given": given, "wanted": wanted}
        return out, plain_tangents(_input_plain, primals, tangents, **params)
    dz, dshare, _, _, dc = tangents
    along = {"dz": dz, "dshare": dshare, "dc": dc}
    if moves((dz, dshare)):
        along["c"] = primals[-1]
    elif not moves((dc,)):
        return out, [zero_tangent(o) for o in out]
    return out, _bind(_input_p, primals[:_FIXED], along, wanted=wanted, **params)


def _input_transpose(
    cts: Sequence, *arrays: Any, given: tuple, wanted: tuple, **params: Any
) -> list:
    fixed = arrays[:_FIXED]
    _, ops = _split(arrays, given)
    along = dict(zip((f"d{name}" for name in wanted), cts, strict=True))
    if not moves(cts):
        zeros = {n: ad.Zero(a.aval) for n, a in ops.items() if n != "c"}
        return [None] * _FIXED + [zeros.get(name) for name in given]
    found: dict[str, Any] = {}
    if "dc" in ops:
        found["dc"] = _bind(_output_p, fixed, along, **params)
    to = tuple(name for name in ("z", "share") if f"d{name}" in ops)
    if to:
        both = {**along, "c": ops["c"]}
        gradients = _bind(_input_p, fixed, both, wanted=to, **params)
        found |= {f"d{n}": g for n, g in zip(to, gradients, strict=True)}
    return [None] * _FIXED + [found.get(name) for name in given]


def _output_jvp(primals: tuple, tangents: tuple, **params: Any) -> tuple:
    out = _output_p.bind(*primals, **params)
    return out, plain_tangents(_output_plain, primals, tangents, **params)


ad.primitive_jvps[_mixture_p] = _mixture_jvp
ad.primitive_jvps[_output_p] = _output_jvp
ad.primitive_jvps[_input_p] = _input_jvp
ad.primitive_transposes[_output_p] = _output_transpose
ad.primitive_transposes[_input_p] = _input_transpose
drop_unused(_input_p, without_unused)
