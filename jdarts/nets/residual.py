"""The skeleton of NAS-Bench-201: stages of cells with one input, residual blocks."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from jdarts.nets.cell import MixedCell
from jdarts.nets.partial import PartialChannels
from jdarts.nets.paths import DropRates
from jdarts.nets.stems import ConvBN
from jdarts.ops.fence import fence
from jdarts.ops.init import uniform_fan_in
from jdarts.ops.norm import BatchNorm
from jdarts.spaces import SearchSpace

__all__ = ["ResidualBody"]


class ReLUConv(nn.Module):
    """ReLU, 3x3 convolution, affine normaliser."""

    channels: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        conv = ConvBN(self.channels, self.stride, name="conv")
        return conv(fence(nn.relu(x)), train=train)


class ResidualBlock(nn.Module):
    """Halves the map: two `ReLUConv`, beside a mean of 2 x 2 and a 1x1 convolution.

    Dong, Yang, 'NAS-Bench-201', ICLR 2020, section 2.1. Its normalisers are affine in
    search networks, too.

    Attributes:
      channels: output width.
    """

    channels: int

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        width = x.shape[-1]
        y = ReLUConv(self.channels, 2, name="first")(x, train=train)
        y = ReLUConv(self.channels, name="second")(y, train=train)
        w = self.param(
            "shortcut", uniform_fan_in(width), (width, self.channels), x.dtype
        )
        batch, height, rows, _ = x.shape
        blocks = x.reshape(batch, height // 2, 2, rows // 2, 2, width)
        return fence(y + blocks.mean((2, 4)) @ w)


class ResidualBody(nn.Module):
    """All between the images and the classifier.

    Attributes:
      space: a space of that skeleton.
      channels: width of the first stage; each block doubles it.
      layers: number of cells.
      partial: which channels go through the ops.
      single: whether each edge computes one op only.
      remat: whether the inside of cells is computed again in backward passes.
    """

    space: SearchSpace
    channels: int
    layers: int
    partial: PartialChannels
    single: bool
    remat: bool

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channel"],
        mix: dict[str, Float[Array, "_edge primitive"]],
        key: Array | None,
        drop_rate: DropRates | None = None,
        *,
        train: bool,
    ) -> Float[Array, "batch out_height out_width out_channel"]:
        channels = self.channels
        cell_type = nn.remat(MixedCell) if self.remat else MixedCell
        blocks = {self.layers * n // d for n, d in self.space.reductions}
        x = ConvBN(channels, name="stem")(x, train=train)
        for i, kind in enumerate(self.space.layout(self.layers)):
            if i in blocks:
                channels *= 2
                x = ResidualBlock(channels, name=f"block_{i}")(x, train=train)
            cell = cell_type(
                self.space.cells[kind],
                channels,
                False,
                train,
                self.partial,
                self.single,
                name=f"cell_{i}",
            )
            own_key = None if key is None else jax.random.fold_in(key, i)
            x = cell((x,), mix[kind], own_key, drop_rate)
        x = BatchNorm(affine=True, name="last_bn")(x[None], train=train)[0]
        return nn.relu(x)
