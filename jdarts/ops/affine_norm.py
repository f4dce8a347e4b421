"""Batch normalisation with a learnt scale and shift, in training: one kernel each way.

With m and v the mean and the biased variance over batch, height and width,
``r = 1 / sqrt(v + eps)`` and ``n = (x - m) r``:

    y = scale n + shift
    dy = scale r (dx - <dx> - n <n dx>) + n dscale + dshift

(<.> the mean over batch, height and width). For a cotangent g of y the gradient in x is
``scale r (g - <g> - n <n g>)``, and those in scale and shift are the sums of ``n g``
and of g: two means give all three, and no other array of the size of x is kept.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.interpreters import ad

from jdarts.ops import native
from jdarts.ops.moments import (
    EPSILON,
    batch_mean,
    centre,
    per_channel,
    project,
    widened,
)
from jdarts.ops.primitive import (
    filled,
    new_primitive,
    where_undefined,
    zero_tangent,
)

__all__ = ["affine_norm"]

_MOVING = 3  # arguments that the two derivatives are linear in


@jax.custom_jvp
def affine_norm(
    x: Array, scale: Array, shift: Array
) -> tuple[Array, Array, Array, Array]:
    """The normalised x, and the statistics of the batch.

    Args:
      x: ``[edge, batch, height, width, channel]``.
      scale: ``[edge, channel]``, of the type ``widened(x).dtype``.
      shift: the same.

    Returns:
      y, of the type of x; r, the mean and the biased variance, ``[edge, channel]``, in
      that type.
    """
    return tuple(_affine_p.bind(x, scale, shift))


@affine_norm.defjvp
def _affine_jvp(primals: tuple, tangents: tuple) -> tuple:
    x, scale, _ = primals
    y, r, m, var = affine_norm(*primals)
    moved = _tangent_p.bind(*tangents, x, m, r, scale)
    dx = widened(tangents[0])
    along_n = batch_mean(_normalised(x, m, r) * dx)
    statistics = (-jnp.square(r) * along_n, batch_mean(dx), 2 * along_n / r)
    return (y, r, m, var), (moved, *statistics)


def _normalised(x: Array, m: Array, r: Array) -> Array:
    return (widened(x) - per_channel(m)) * per_channel(r)


def _affine_plain(
    x: Array, scale: Array, shift: Array
) -> tuple[Array, Array, Array, Array]:
    centred, r, m, var = centre(x)
    y = centred * per_channel(r * scale) + per_channel(shift)
    return y.astype(x.dtype), r, m, var


def _affine_cpu(
    x: Array, scale: Array, shift: Array
) -> tuple[Array, Array, Array, Array]:
    if not native.usable("norm_affine", x.dtype):
        return _affine_plain(x, scale, shift)
    like = jax.ShapeDtypeStruct(scale.shape, scale.dtype)
    out = (jax.ShapeDtypeStruct(x.shape, x.dtype), like, like, like)
    arrays, eps = (x, scale, shift), np.float64(EPSILON)
    return tuple(native.call_over("norm_affine", out, arrays, x.shape[:-4], eps=eps))


def _tangent_plain(
    dx: Array, dscale: Array, dshift: Array, x: Array, m: Array, r: Array, scale: Array
) -> Array:
    """dy, see the module."""
    n = _normalised(x, m, r)
    moved = project(dx, n) * per_channel(scale * r) + n * per_channel(dscale)
    return (moved + per_channel(dshift)).astype(x.dtype)


def _tangent_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Any]:
    out = _tangent_p.bind(*primals)
    if all(type(t) is ad.Zero for t in tangents[_MOVING:]):
        moving = filled(tangents[:_MOVING])
        return out, _tangent_p.bind(*moving, *primals[_MOVING:])
    return out, jax.jvp(_tangent_plain, primals, tuple(filled(tangents)))[1]


def _tangent_transpose(cotangent: Any, *arguments: Any) -> list:
    moving, fixed = arguments[:_MOVING], arguments[_MOVING:]
    if type(cotangent) is ad.Zero:
        return [ad.Zero(a.aval) for a in moving] + [None] * len(fixed)
    found = where_undefined(_pull_p.bind(cotangent, *fixed), moving)
    return found + [None] * len(fixed)


def _pull_plain(
    g: Array, x: Array, m: Array, r: Array, scale: Array
) -> tuple[Array, Array, Array]:
    """The gradients in x, scale and shift, see the module."""
    n, t = _normalised(x, m, r), widened(g)
    along_n, along = batch_mean(n * t), batch_mean(t)
    gx = (t - per_channel(along) - n * per_channel(along_n)) * per_channel(scale * r)
    count = x.size // m.size
    return gx.astype(x.dtype), count * along_n, count * along


def _pull_cpu(
    g: Array, x: Array, m: Array, r: Array, scale: Array
) -> tuple[Array, Array, Array]:
    if not native.usable("norm_affine_pull", x.dtype):
        return _pull_plain(g, x, m, r, scale)
    like = jax.ShapeDtypeStruct(m.shape, m.dtype)
    out = (jax.ShapeDtypeStruct(x.shape, x.dtype), like, like)
    arrays = (g, x, m, r, scale)
    return tuple(native.call_over("norm_affine_pull", out, arrays, x.shape[:-4]))


def _pull_jvp(primals: tuple, tangents: tuple) -> tuple[list, list]:
    out = _pull_p.bind(*primals)
    moving, *fixed = tangents
    if all(type(t) is ad.Zero for t in fixed):
        if type(moving) is ad.Zero:
            return out, [zero_tangent(o) for o in out]
        return out, _pull_p.bind(moving, *primals[1:])
    return out, list(jax.jvp(_pull_plain, primals, tuple(filled(tangents)))[1])


def _pull_transpose(cotangents: list, g: Any, *fixed: Array) -> list:
    if all(type(c) is ad.Zero for c in cotangents):
        return [ad.Zero(g.aval)] + [None] * len(fixed)
    return [_tangent_p.bind(*filled(cotangents), *fixed)] + [None] * len(fixed)


_affine_p = new_primitive("affine_norm", _affine_plain, _affine_cpu, multiple=True)
_tangent_p = new_primitive("affine_norm_tangent", _tangent_plain, _tangent_plain)
ad.primitive_jvps[_tangent_p] = _tangent_jvp
ad.primitive_transposes[_tangent_p] = _tangent_transpose
_pull_p = new_primitive("affine_norm_pull", _pull_plain, _pull_cpu, multiple=True)
ad.primitive_jvps[_pull_p] = _pull_jvp
ad.primitive_transposes[_pull_p] = _pull_transpose
