"""Dense square convolutions of stacked edges."""

import flax.linen as nn
from jaxtyping import Array

from jdarts.ops.dense import conv, pointwise
from jdarts.ops.features import edges_to_features, features_to_edges
from jdarts.ops.fence import fence
from jdarts.ops.init import uniform_fan_in
from jdarts.ops.norm import BatchNorm
from jdarts.ops.windows import every

__all__ = ["DenseConvs"]


class DenseConvs(nn.Module):
    """ReLU, k x k convolution, BN (of the NASP code: Yao et al., AAAI 2020).

    Attributes:
      edges: number of edges that leave the source.
      kernel: k, odd; padded by k // 2.
      stride: 1 or 2.
      affine: whether the normaliser learns a scale and a shift.
      bias: whether a bias comes before the normaliser, as in NAS-Bench-201 (it changes
        no value in training, but counts).
    """

    edges: int
    kernel: int
    stride: int = 1
    affine: bool = False
    bias: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        channels, k, step = x.shape[-1], self.kernel, self.stride
        shape = (self.edges, k, k, channels, channels)
        w = self.param("dense", uniform_fan_in(k * k * channels), shape, x.dtype)
        x = nn.relu(x)
        if k == 1:
            y = pointwise(every(x, step)[None], w[:, 0, 0])
        else:
            y = self._convolve(fence(x), w)
        if self.bias:
            init = uniform_fan_in(k * k * channels)
            b = self.param("bias", init, (self.edges, channels), x.dtype)
            y = y + b[:, None, None, None]
        return BatchNorm(self.affine, name="bn")(y, train=train)

    def _convolve(self, x: Array, w: Array) -> Array:
        """One convolution to the channels of all edges."""
        together, padding = edges_to_features(w), self.kernel // 2
        y = conv(x, together, stride=self.stride, padding=padding)
        return fence(features_to_edges(y, self.edges))
