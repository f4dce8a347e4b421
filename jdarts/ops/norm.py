"""Batch normalisation of stacked edges."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.interpreters import ad
from jaxtyping import Array, Float

from jdarts.ops import native
from jdarts.ops.affine_norm import affine_norm
from jdarts.ops.init import constant
from jdarts.ops.mixture import mixture
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
    moves,
    new_primitive,
    where_undefined,
    zero_tangent,
)

__all__ = ["BatchNorm", "MixedNorm"]

MOMENTUM = 0.9  # new running value = 0.9 old + 0.1 batch


class _Running(nn.Module):
    """The running statistics of a normaliser (``batch_stats``; the variance unbiased).

    They are written in training if that collection is mutable, and only then.
    """

    def record(self, x: Array, mean: Array, var: Array) -> None:
        """Moves them towards a batch's mean and biased variance."""
        if self.is_mutable_collection("batch_stats"):
            count = x.size // mean.size
            self._update("mean", mean)
            self._update("var", var * (count / max(count - 1, 1)))

    def standardise(self, x: Array) -> Array:
        """x by the running statistics."""
        shape = (x.shape[0], x.shape[-1])
        mean = self._variable("mean", 0.0, shape, x.dtype).value
        var = self._variable("var", 1.0, shape, x.dtype).value
        return (x - per_channel(mean)) * per_channel(lax.rsqrt(var + EPSILON))

    def _variable(self, name: str, start: float, *args: Any) -> nn.Variable:
        return self.variable("batch_stats", name, constant(start), None, *args)

    def _update(self, name: str, value: Array) -> None:
        running = self._variable(name, 0.0, value.shape, value.dtype)
        running.value += (1 - MOMENTUM) * (value - running.value)


class BatchNorm(_Running):
    """Normalises each channel of each edge over batch, height and width.

    In training by the batch's mean and biased variance; in evaluation by the running
    ones. Statistics are computed, and sums in derivatives taken, in float32 at least;
    the result has the type of `x`.

    Attributes:
      affine: whether a learnt scale and shift follow.
    """

    affine: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "edge batch height width channel"], *, train: bool
    ) -> Float[Array, "edge batch height width channel"]:
        if not self.affine:
            return self._by_batch(x) if train else self.standardise(x).astype(x.dtype)
        shape = (x.shape[0], x.shape[-1])
        scale = widened(self.param("scale", constant(1.0), shape, x.dtype))
        shift = widened(self.param("shift", constant(0.0), shape, x.dtype))
        if train:
            y, _, *statistics = affine_norm(x, scale, shift)
            self.record(x, *statistics)
            return y
        y = widened(self.standardise(x)) * per_channel(scale) + per_channel(shift)
        return y.astype(x.dtype)

    def _by_batch(self, x: Array) -> Array:
        y, _, *statistics = _standardise(x)
        self.record(x, *statistics)
        return y


class MixedNorm(_Running):
    """The weighted sum over ops of what `BatchNorm` would make of each.

    Attributes:
      edges: number of edges; row ``s E + e`` of the input is op s on edge e.
    """

    edges: int

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "row batch height width channel"],
        share: Float[Array, " row"],
        *,
        train: bool,
    ) -> Float[Array, "edge batch height width channel"]:
        """Returns the sum, in float32 at least."""
        share = share.astype(widened(x).dtype)
        if train:
            y, mean, var = mixture(x, share, edges=self.edges, epsilon=EPSILON)
            self.record(x, mean, var)
            return y
        weighted = self.standardise(x) * share[:, None, None, None, None]
        return weighted.reshape(-1, self.edges, *x.shape[1:]).sum(0)


@jax.custom_jvp
def _standardise(x: Array) -> tuple[Array, Array, Array, Array]:
    """``n = (x - mean) r`` with ``r = 1 / sqrt(var + eps)``; also r, mean and var."""
    return tuple(_standardise_p.bind(x))


@_standardise.defjvp
def _standardise_jvp(primals: tuple, tangents: tuple) -> tuple:
    # Differentiating mean and variance one by one would read x three times more often,
    # forward and backward. With t the tangent of x and <.> the mean over the batch:
    #   dn = r (t - <t> - n <n t>),   dr = -r^2 <n t>,   dmean = <t>,   dvar = 2 <n t>/r
    # The first is its own transpose: one kernel for the derivative in both modes.
    (t,) = tangents
    n, r, mean, var = _standardise(*primals)
    dn, along_n = _project_p.bind(t, n, r)
    tangent = (
        dn,
        -jnp.square(r) * along_n,
        batch_mean(widened(t)),
        2 * along_n / r,
    )
    return (n, r, mean, var), tangent


def standardise_plain(x: Array) -> tuple[Array, Array, Array, Array]:
    centred, r, mean, var = centre(x)
    return (centred * per_channel(r)).astype(x.dtype), r, mean, var


def _standardise_cpu(x: Array) -> tuple[Array, Array, Array, Array]:
    if not native.usable("norm_standardise", x.dtype):
        return standardise_plain(x)
    lead = x.shape[:-4]  # the edges, and what vmap put before them
    wide = jnp.promote_types(x.dtype, jnp.float32)
    small = jax.ShapeDtypeStruct((*lead, x.shape[-1]), wide)
    out = (jax.ShapeDtypeStruct(x.shape, x.dtype), small, small, small)
    eps = np.float64(EPSILON)
    return tuple(native.call_over("norm_standardise", out, (x,), lead, eps=eps))


def project_plain(t: Array, n: Array, r: Array) -> tuple[Array, Array]:
    """``r (t - <t> - n <n t>)`` and ``<n t>``."""
    projected = (project(t, n) * per_channel(r)).astype(t.dtype)
    return projected, batch_mean(widened(n) * t)


def _project_cpu(t: Array, n: Array, r: Array) -> tuple[Array, Array]:
    lead = t.shape[:-4]
    return native.call_or("norm_project", project_plain, (t, n, r), lead)


def _project_jvp(primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    t, n, r = primals
    out = _project_p.bind(t, n, r)
    along_t, *fixed = tangents
    if not moves(fixed):
        if not moves(tangents):
            return out, [zero_tangent(x) for x in out]
        return out, _project_p.bind(along_t, n, r)
    dt, dn, dr = filled(tangents)
    along_n = batch_mean(widened(n) * dt + widened(dn) * t)
    return out, [_project_tangent_p.bind(dt, dn, dr, t, n, r), along_n]


def _project_transpose(cotangents: Any, t: Any, n: Array, r: Array) -> list:
    of_projected, of_along_n = cotangents
    terms = []
    if moves([of_projected]):
        terms.append(_project_p.bind(of_projected, n, r)[0])
    if moves([of_along_n]):
        values = math.prod(n.shape[-4:-1])
        terms.append((n * per_channel(of_along_n / values)).astype(n.dtype))
    total = functools.reduce(jnp.add, terms) if terms else ad.Zero(t.aval)
    return [total, None, None]


def _project_tangent_plain(
    dt: Array, dn: Array, dr: Array, t: Array, n: Array, r: Array
) -> Array:
    """The derivative of what is projected along dt, dn and dr."""
    return jax.jvp(lambda *a: project_plain(*a)[0], (t, n, r), (dt, dn, dr))[1]


def _project_tangent_cpu(*arrays: Array) -> Array:
    t = arrays[3]
    if not native.usable("norm_project_tangent", t.dtype):
        return _project_tangent_plain(*arrays)
    out = jax.ShapeDtypeStruct(t.shape, t.dtype)
    return native.call_over("norm_project_tangent", out, arrays, t.shape[:-4])


def _project_tangent_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    # Of third order: from the definition.
    out, moving = _project_tangent_p.bind(*primals), tuple(filled(tangents))
    return out, jax.jvp(_project_tangent_plain, primals, moving)[1]


def _project_tangent_transpose(cotangent: Any, *arrays: Any) -> list:
    moving, at = arrays[:3], arrays[3:]
    if type(cotangent) is ad.Zero:
        return [*(ad.Zero(m.aval) for m in moving), None, None, None]
    shapes = [jax.ShapeDtypeStruct(m.aval.shape, m.aval.dtype) for m in moving]
    linear = jax.linear_transpose(lambda *m: _project_tangent_plain(*m, *at), *shapes)
    found = where_undefined(linear(cotangent), moving)  # what was zero stays so
    return [*found, None, None, None]


_standardise_p = new_primitive(
    "standardise", standardise_plain, _standardise_cpu, multiple=True
)
_project_p = new_primitive("project", project_plain, _project_cpu, multiple=True)
ad.primitive_jvps[_project_p] = _project_jvp
ad.primitive_transposes[_project_p] = _project_transpose
_project_tangent_p = new_primitive(
    "project_tangent", _project_tangent_plain, _project_tangent_cpu
)
ad.primitive_jvps[_project_tangent_p] = _project_tangent_jvp
ad.primitive_transposes[_project_tangent_p] = _project_tangent_transpose
