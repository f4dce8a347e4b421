"""An op that ignores its input: Gaussian noise."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

__all__ = ["RNG", "Noise"]

RNG = "noise"
"""The collection of random keys that ops draw from, one key a step."""
_ALONE = 0  # the seed of an op outside of a network


class Noise(nn.Module):
    """``n ~ N(0, 1)``, in place of the input and of its shape (halved at stride 2).

    The worst op of space S4: it destroys what it gets (Zela et al., 'Understanding and
    Robustifying DARTS', ICLR 2020, section 3). Each edge draws for itself, from a key
    of the collection `RNG`. Networks give a step's key in training and in evaluation
    always the same one, so that results repeat (the authors' code draws again there,
    too).

    Attributes:
      edges: number of edges.
      stride: 1 or 2.
    """

    edges: int
    stride: int = 1

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channel"], *, train: bool
    ) -> Float[Array, "edge batch out_height out_width channel"]:
        batch, *sides, channels = x.shape
        key = self.make_rng(RNG) if self.has_rng(RNG) else jax.random.key(_ALONE)
        shape = (batch, *(-(-side // self.stride) for side in sides), channels)
        return jax.random.normal(key, (self.edges, *shape), x.dtype)
