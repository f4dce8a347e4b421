"""Dense convolutions along one axis of the image, for stacked edges."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jdarts.ops.init import uniform_fan_in
from jdarts.ops.norm import BatchNorm
from jdarts.ops.stage import pointwise

__all__ = ["LineConvs", "line_conv"]


def line_conv(
    x: Float[Array, "source batch height width channel"],
    w: Float[Array, "edge kernel channel out"],
    *,
    axis: Literal[-3, -2],
    stride: int = 1,
) -> Float[Array, "edge batch out_height out_width out"]:
    """Convolves along the height (axis -3) or the width (axis -2), padding k // 2.

    The taps are laid side by side, so that every edge is one matrix product.

    Args:
      x: the sources: one for all edges, or one per edge.
      w: the kernels, of odd length.
      axis: along which to convolve.
      stride: along that axis, 1 or 2.
    """
    edges, kernel, channels, out = w.shape
    padding = [(0, 0)] * x.ndim
    padding[axis] = (kernel // 2, kernel // 2)
    padded = jnp.pad(x, padding)
    reach = stride * ((x.shape[axis] - 1) // stride) + 1
    taps = [lax.slice_in_dim(padded, i, i + reach, stride, axis) for i in range(kernel)]
    return pointwise(
        jnp.concatenate(taps, axis=-1), w.reshape(edges, kernel * channels, out)
    )


class LineConvs(nn.Module):
    """ReLU, 1 x k convolution, k x 1 convolution, BN; each strides along its line.

    AmoebaNet's factorised convolution (Real et al., AAAI 2019).

    Attributes:
      edges: number of edges that leave the source.
      kernel: k, odd.
      stride: 1 or 2.
      affine: whether the normaliser learns a scale and a shift.
    """

    edges: int
    kernel: int
    stride: int = 1
    affine: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        channels = x.shape[-1]
        y = nn.relu(x)[None]
        for name, axis in (("row", -2), ("column", -3)):
            w = self.param(
                name,
                uniform_fan_in(self.kernel * channels),
                (self.edges, self.kernel, channels, channels),
                x.dtype,
            )
            y = line_conv(y, w, axis=axis, stride=self.stride)
        return BatchNorm(self.affine, name="bn")(y, train=train)
