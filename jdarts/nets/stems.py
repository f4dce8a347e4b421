"""What comes before the first cell: one row of STEMS for each kind of image."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
from jaxtyping import Array

from jdarts.nets.heads import AuxiliaryShape
from jdarts.ops.dense import conv
from jdarts.ops.fence import fence
from jdarts.ops.init import uniform_fan_in
from jdarts.ops.norm import BatchNorm

__all__ = ["STEMS", "ConvBN", "Stem"]


class ConvBN(nn.Module):
    """3x3 convolution and an affine normaliser.

    Attributes:
      channels: output width.
      stride: 1 or 2.
    """

    channels: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        shape = (3, 3, x.shape[-1], self.channels)
        w = self.param("conv", uniform_fan_in(9 * x.shape[-1]), shape, x.dtype)
        y = conv(x, w, stride=self.stride, padding=1)
        return BatchNorm(affine=True, name="bn")(fence(y)[None], train=train)[0]


class CifarStem(nn.Module):
    """One convolution; both inputs of the first cell are its result."""

    channels: int

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> tuple[Array, Array]:
        y = ConvBN(3 * self.channels, name="conv_0")(x, train=train)
        return y, y


class ImageNetStem(nn.Module):
    """Three convolutions of stride 2; input 0 of the first cell is the second one's."""

    channels: int

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> tuple[Array, Array]:
        width = self.channels
        y = ConvBN(width // 2, stride=2, name="conv_0")(x, train=train)
        first = ConvBN(width, stride=2, name="conv_1")(nn.relu(y), train=train)
        second = ConvBN(width, stride=2, name="conv_2")(nn.relu(first), train=train)
        return first, second


class Stem(NamedTuple):
    """A row of the table.

    Attributes:
      build: ``build(channels, name=)``: a module from images to both inputs of the
        first cell; `channels` is the width of that cell.
      stride: by how much input 1 is smaller than the images.
      reduces: whether input 0 of the first cell is twice as large as its input 1.
      auxiliary: the auxiliary head that goes with it.
    """

    build: Callable[..., nn.Module]
    stride: int
    reduces: bool
    auxiliary: AuxiliaryShape


STEMS: dict[str, Stem] = {
    "cifar": Stem(CifarStem, 1, False, AuxiliaryShape(stride=3, least=8)),
    # Without its last normaliser, as in the code behind the published figures.
    "imagenet": Stem(
        ImageNetStem, 8, True, AuxiliaryShape(stride=2, least=7, last_norm=False)
    ),
}
