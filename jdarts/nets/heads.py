"""Classifiers: at the end of a network, and the auxiliary one inside it."""

from typing import NamedTuple

import flax.linen as nn
from jaxtyping import Array, Float

from jdarts.ops.dense import conv, pointwise
from jdarts.ops.init import uniform_fan_in
from jdarts.ops.norm import BatchNorm

__all__ = ["AuxiliaryHead", "AuxiliaryShape", "Head"]

_WINDOW = 5  # of the auxiliary head's pool
_WIDTHS = 128, 768  # of its two convolutions


class Head(nn.Module):
    """Mean over the map, then a linear layer, in the type of its weights.

    Attributes:
      classes: number of classes.
    """

    classes: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channel"]
    ) -> Float[Array, "batch class"]:
        init, width = uniform_fan_in(x.shape[-1]), x.shape[-1]
        w = self.param("kernel", init, (width, self.classes), x.dtype)
        b = self.param("bias", init, (self.classes,), x.dtype)
        return x.mean((1, 2), dtype=w.dtype) @ w + b


class AuxiliaryShape(NamedTuple):
    """Where auxiliary heads differ.

    Attributes:
      stride: of the pool.
      least: height and width of the smallest map that the pool and the 2x2
        convolution leave something of; at that size a single pixel.
      last_norm: whether a normaliser follows the second convolution.
    """

    stride: int
    least: int
    last_norm: bool = True


class AuxiliaryHead(nn.Module):
    """ReLU, 5x5 mean pool, 1x1 and 2x2 convolution, each with BN and ReLU, classifier.

    Of the DARTS code (Liu et al., ICLR 2019), for the output of the second reduction
    cell. Maps of more than the published size are averaged before the classifier.

    Attributes:
      classes: number of classes.
      shape: the variant.
    """

    classes: int
    shape: AuxiliaryShape

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channel"], *, train: bool
    ) -> Float[Array, "batch class"]:
        step, window = (self.shape.stride,) * 2, (_WINDOW, _WINDOW)
        y = nn.avg_pool(nn.relu(x), window, strides=step, padding="VALID")
        fan_in, (middle, wide) = y.shape[-1], _WIDTHS
        shape = (1, fan_in, middle)
        w = self.param("conv_0", uniform_fan_in(fan_in), shape, x.dtype)
        y = BatchNorm(affine=True, name="bn_0")(pointwise(y[None], w), train=train)[0]
        shape = (2, 2, middle, wide)
        w = self.param("conv_1", uniform_fan_in(4 * middle), shape, x.dtype)
        y = conv(nn.relu(y), w)
        if self.shape.last_norm:
            y = BatchNorm(affine=True, name="bn_1")(y[None], train=train)[0]
        return Head(self.classes, name="head")(nn.relu(y))
