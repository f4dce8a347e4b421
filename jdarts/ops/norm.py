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
            mean = x.mean((1, 2, 3))
            var = jnp.square(x - _per_channel(mean)).mean((1, 2, 3))
            if self.is_mutable_collection("batch_stats"):
                count = x.size // (shape[0] * shape[1])
                self._update("mean", mean)
                self._update("var", var * (count / max(count - 1, 1)))
        else:
            mean = self._running("mean", 0.0, shape, x.dtype).value
            var = self._running("var", 1.0, shape, x.dtype).value
        scale = lax.rsqrt(var + EPSILON)
        if self.affine:
            scale = scale * self.param("scale", constant(1.0), shape, x.dtype)
        y = (x - _per_channel(mean)) * _per_channel(scale)
        if self.affine:
            y += _per_channel(self.param("shift", constant(0.0), shape, x.dtype))
        return y

    def _running(self, name: str, start: float, *args: Any) -> nn.Variable:
        return self.variable("batch_stats", name, constant(start), None, *args)

    def _update(self, name: str, value: Array) -> None:
        running = self._running(name, 0.0, value.shape, value.dtype)
        running.value += (1 - MOMENTUM) * (value - running.value)


def _per_channel(value: jax.Array) -> jax.Array:
    """``[edge, channel]`` against ``[edge, batch, height, width, channel]``."""
    return value[:, None, None, None, :]
