"""Convolutions of stacked edges: pointwise, separable, dilated, halving."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jdarts.ops.depthwise import depthwise_conv
from jdarts.ops.init import uniform_fan_in
from jdarts.ops.norm import BatchNorm

__all__ = ["DilConv", "FactorizedReduce", "ReLUConvBN", "SepConv", "pointwise"]


def pointwise(
    x: Float[Array, "source batch height width channel"],
    w: Float[Array, "edge channel out"],
) -> Float[Array, "edge batch height width out"]:
    """A 1x1 convolution for every edge, as one batched matrix product."""
    shape = x.shape
    y = jnp.matmul(x.reshape(shape[0], -1, shape[-1]), w)
    return y.reshape(w.shape[0], *shape[1:-1], w.shape[-1])


class _Depthwise(nn.Module):
    """One depthwise and one pointwise convolution, then the normaliser."""

    edges: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    affine: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        channels, kernel, dtype = x.shape[-1], self.kernel, x.dtype
        dw = self.param(
            "depthwise",
            uniform_fan_in(kernel * kernel),
            (self.edges, kernel, kernel, channels),
            dtype,
        )
        pw = self.param(
            "pointwise",
            uniform_fan_in(channels),
            (self.edges, channels, channels),
            dtype,
        )
        y = depthwise_conv(nn.relu(x), dw, stride=self.stride, dilation=self.dilation)
        return BatchNorm(self.affine, name="bn")(pointwise(y, pw), train=train)


class SepConv(nn.Module):
    """Separable convolution twice: ReLU, depthwise, pointwise, BN; the first strides.

    Attributes:
      edges: number of edges that leave the source.
      kernel: side of the depthwise kernels.
      stride: 1 or 2.
      affine: whether the normalisers learn a scale and a shift.
    """

    edges: int
    kernel: int
    stride: int = 1
    affine: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        first = _Depthwise(
            self.edges, self.kernel, self.stride, affine=self.affine, name="first"
        )
        second = _Depthwise(self.edges, self.kernel, affine=self.affine, name="second")
        return second(first(x[None], train=train), train=train)


class DilConv(nn.Module):
    """Dilated separable convolution, once: ReLU, depthwise (dilation 2), pointwise, BN.

    Attributes: as `SepConv`.
    """

    edges: int
    kernel: int
    stride: int = 1
    affine: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        conv = _Depthwise(
            self.edges, self.kernel, self.stride, 2, self.affine, name="conv"
        )
        return conv(x[None], train=train)


class ReLUConvBN(nn.Module):
    """ReLU, 1x1 convolution to `channels`, BN: a cell's input adapter.

    Attributes:
      channels: output width.
      affine: whether the normaliser learns a scale and a shift.
    """

    channels: int
    affine: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        width = x.shape[-1]
        w = self.param(
            "pointwise", uniform_fan_in(width), (1, width, self.channels), x.dtype
        )
        y = pointwise(nn.relu(x)[None], w)
        return BatchNorm(self.affine, name="bn")(y, train=train)[0]


class FactorizedReduce(nn.Module):
    """Halves height and width without losing pixels.

    ReLU, then two 1x1 convolutions of stride 2, the second one on the map without its
    first row and column, each giving half of the channels; concatenated; BN.

    Attributes:
      edges: number of edges that leave the source.
      channels: output width, even.
      affine: whether the normaliser learns a scale and a shift.
    """

    edges: int
    channels: int
    affine: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        width, half = x.shape[-1], self.channels // 2
        x = nn.relu(x)
        parts = []
        for name, part in (("even", x[:, ::2, ::2]), ("odd", x[:, 1::2, 1::2])):
            shape = (self.edges, width, half)
            w = self.param(f"pointwise_{name}", uniform_fan_in(width), shape, x.dtype)
            parts.append(pointwise(part[None], w))
        y = jnp.concatenate(parts, axis=-1)
        return BatchNorm(self.affine, name="bn")(y, train=train)
