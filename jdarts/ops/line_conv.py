"""Dense convolutions along one axis of the image, for stacked edges."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jdarts.errors import UserError
from jdarts.ops.dense import pointwise
from jdarts.ops.init import uniform_fan_in
from jdarts.ops.norm import BatchNorm

__all__ = ["GroupedLineConvs", "LineConvs", "line_conv"]

_GROUPS = 8


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


class GroupedLineConvs(nn.Module):
    """ReLU, 1 x k and k x 1 convolution in 8 groups, BN, ReLU, 1 x 1 convolution, BN.

    The branch of convolutions in GDAS' fixed reduction cell (Dong, Yang, CVPR 2019).

    Attributes:
      edges: number of edges that leave the source.
      kernel: k, odd.
      stride: 1 or 2.
      affine: whether the normalisers learn a scale and a shift.
    """

    edges: int
    kernel: int
    stride: int = 1
    affine: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        channels, edges = x.shape[-1], self.edges
        if channels % _GROUPS:
            raise UserError(
                f"primitive of {_GROUPS} groups: {channels} channels; expected a "
                f"multiple of {_GROUPS}"
            )
        width = channels // _GROUPS
        rows = edges * _GROUPS  # one for each group of each edge
        y = jnp.moveaxis(nn.relu(x).reshape(*x.shape[:-1], _GROUPS, width), -2, 0)
        y = jnp.tile(y, (edges, 1, 1, 1, 1))
        for name, axis in (("row", -2), ("column", -3)):
            shape = (edges, _GROUPS, self.kernel, width, width)
            w = self.param(name, uniform_fan_in(self.kernel * width), shape, x.dtype)
            y = line_conv(
                y, w.reshape(rows, *w.shape[2:]), axis=axis, stride=self.stride
            )
        y = jnp.moveaxis(y.reshape(edges, _GROUPS, *y.shape[1:]), 1, -2)
        y = y.reshape(*y.shape[:-2], channels)
        y = nn.relu(BatchNorm(self.affine, name="bn_0")(y, train=train))
        shape = (edges, channels, channels)
        w = self.param("pointwise", uniform_fan_in(channels), shape, x.dtype)
        return BatchNorm(self.affine, name="bn_1")(pointwise(y, w), train=train)
