"""Convolutions of stacked edges: pointwise, separable, dilated, halving."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jdarts.ops.dense import pointwise
from jdarts.ops.init import uniform_fan_in
from jdarts.ops.norm import BatchNorm, MixedNorm
from jdarts.ops.relu_product import relu_product
from jdarts.ops.stage import separable_stage
from jdarts.ops.windows import Window, every

__all__ = [
    "FactorizedReduce",
    "ReLUConvBN",
    "Separable",
    "SeparableOps",
]


class Separable(NamedTuple):
    """An op made of stages: ReLU, depthwise convolution, pointwise convolution, BN.

    Attributes:
      kernels: the side of each stage's depthwise kernel.
      dilation: of all stages. The first stage has the edge's stride, the others 1.
    """

    kernels: tuple[int, ...]
    dilation: int = 1

    def windows(self, stride: int) -> tuple[Window, ...]:
        """Each stage's window on an edge of that stride."""
        strides = (stride, *[1] * (len(self.kernels) - 1))
        return tuple(
            Window(kernel, stride, self.dilation)
            for kernel, stride in zip(self.kernels, strides, strict=True)
        )


class SeparableOps(nn.Module):
    """Separable ops of equally many stages on all edges that leave a source.

    Every stage of all of them is one kernel with one normaliser: fewer and larger
    kernels, which run faster and compile much faster than one set per op.

    Attributes:
      edges: number of edges that leave the source.
      ops: names and definitions, all with the same number of stages.
      stride: of the edges, 1 or 2.
      affine: whether the normalisers learn a scale and a shift; not with shares.
    """

    edges: int
    ops: tuple[tuple[str, Separable], ...]
    stride: int = 1
    affine: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channel"],
        share: Float[Array, "op edge"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "row batch out_height out_width channel"]:
        """Applies all ops to the source.

        Args:
          x: the source.
          share: mixing weights.
          train: whether normalisers use the batch's statistics.

        Returns:
          With shares the weighted sum over the ops, a row for each edge, in float32 at
          least; without, all ops on all edges, ``op * edges + edge`` being the row.
        """
        windows = [op.windows(self.stride) for _, op in self.ops]
        value, last = x[None], len(windows[0]) - 1
        for stage in range(last + 1):
            value = self._stage(stage, value, [w[stage] for w in windows])
            if share is not None and stage == last:
                norm = MixedNorm(self.edges, name=f"bn_{stage}")
                return norm(value, share.ravel(), train=train)
            value = BatchNorm(self.affine, name=f"bn_{stage}")(value, train=train)
        return value

    def _stage(self, stage: int, x: Array, windows: list[Window]) -> Array:
        """One stage without its normaliser; x is ``[1 or op edge, batch, ...]``."""
        edges, channels = self.edges, x.shape[-1]
        depthwise = []
        for (name, _), window in zip(self.ops, windows, strict=True):
            shape = (edges, window.kernel, window.kernel, channels)
            init = uniform_fan_in(window.kernel**2)
            depthwise.append(
                self.param(f"{name}_depthwise_{stage}", init, shape, x.dtype)
            )
        shape = (edges * len(windows), channels, channels)
        w = self.param(f"pointwise_{stage}", uniform_fan_in(channels), shape, x.dtype)
        return separable_stage(x, w, depthwise, tuple(windows))


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
        shape = (1, width, self.channels)
        w = self.param("pointwise", uniform_fan_in(width), shape, x.dtype)
        y = relu_product(x, w[0])[None]
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
        for name, part in (("even", every(x, 2)), ("odd", every(x, 2, (1, 1)))):
            shape = (self.edges, width, half)
            w = self.param(f"pointwise_{name}", uniform_fan_in(width), shape, x.dtype)
            parts.append(pointwise(part[None], w))
        y = jnp.concatenate(parts, axis=-1)
        return BatchNorm(self.affine, name="bn")(y, train=train)
