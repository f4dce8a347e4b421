"""Batch normalisation of stacked edges."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jdarts.ops.init import constant

__all__ = ["BatchNorm"]

EPSILON = 1e-5
MOMENTUM = 0.9  # new running value = 0.9 old + 0.1 batch


class BatchNorm(nn.Module):
    """Normalises each channel of each edge over batch, height and width.

    In training by the batch's mean and biased variance; in evaluation by the running
    ones. The running statistics (``batch_stats``; the variance unbiased) are written in
    training if that collection is mutable, and only then.

    Attributes:
      affine: whether a learnt scale and shift follow.
    """

    affine: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "edge batch height width channel"], *, train: bool
    ) -> Float[Array, "edge batch height width channel"]:
        shape = (x.shape[0], x.shape[-1])
        if train:
            y, _, mean, var = _standardise(x)
            if self.is_mutable_collection("batch_stats"):
                count = x.size // (shape[0] * shape[1])
                self._update("mean", mean)
                self._update("var", var * (count / max(count - 1, 1)))
        else:
            mean = self._running("mean", 0.0, shape, x.dtype).value
            var = self._running("var", 1.0, shape, x.dtype).value
            y = (x - _per_channel(mean)) * _per_channel(lax.rsqrt(var + EPSILON))
        if self.affine:
            scale = self.param("scale", constant(1.0), shape, x.dtype)
            shift = self.param("shift", constant(0.0), shape, x.dtype)
            y = y * _per_channel(scale) + _per_channel(shift)
        return y

    def _running(self, name: str, start: float, *args: Any) -> nn.Variable:
        return self.variable("batch_stats", name, constant(start), None, *args)

    def _update(self, name: str, value: Array) -> None:
        running = self._running(name, 0.0, value.shape, value.dtype)
        running.value += (1 - MOMENTUM) * (value - running.value)


@jax.custom_jvp
def _standardise(x: Array) -> tuple[Array, Array, Array, Array]:
    """``n = (x - mean) r`` with ``r = 1 / sqrt(var + eps)``; also r, mean and var."""
    mean = x.mean((1, 2, 3))
    var = jnp.maximum(jnp.square(x).mean((1, 2, 3)) - jnp.square(mean), 0)
    r = lax.rsqrt(var + EPSILON)
    return (x - _per_channel(mean)) * _per_channel(r), r, mean, var


@_standardise.defjvp
def _standardise_jvp(primals: tuple, tangents: tuple) -> tuple:
    # Differentiating mean and variance one by one would read x three times more often,
    # forward and backward. With t the tangent of x and <.> the mean over the batch:
    #   dn = r (t - <t> - n <n t>),   dr = -r^2 <n t>,   dmean = <t>,   dvar = 2 <n t>/r
    # The first is its own transpose but for r, and holds for every order.
    (t,) = tangents
    n, r, mean, var = _standardise(*primals)
    along_mean, along_n = t.mean((1, 2, 3)), (n * t).mean((1, 2, 3))
    projected = t - _per_channel(along_mean) - n * _per_channel(along_n)
    tangent = (
        projected * _per_channel(r),
        -jnp.square(r) * along_n,
        along_mean,
        2 * along_n / r,
    )
    return (n, r, mean, var), tangent


def _per_channel(value: jax.Array) -> jax.Array:
    """``[edge, channel]`` against ``[edge, batch, height, width, channel]``."""
    return value[:, None, None, None, :]
