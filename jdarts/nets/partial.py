"""Partial channels: only one K-th of a node's channels goes through the ops."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Num

from jdarts.errors import UserError
from jdarts.ops.windows import every

__all__ = ["ALL_CHANNELS", "PartialChannels", "halve", "shuffle"]


class PartialChannels(NamedTuple):
    """Xu et al., 'PC-DARTS', ICLR 2020, section 3.2.

    The other channels are passed on, halved by a 2 x 2 maximum where the edge halves,
    and weighted with the sum of the edge's mixing weights: 1 for a softmax, the edge's
    own weight under edge normalisation. So a node is

        sum over its edges of [sum_o mix_o op_o(ahead), (sum_o mix_o) rest].

    Attributes:
      k: K, >= 1; 1 sends all channels through the ops.
      sample: False: the first C / K channels, and the channels of a node's value are
        shuffled afterwards, so that others come first in the next one (the authors'
        code). True: a random sample for each cell and step (without a key the first
        ones), whose results take the places of the sampled channels (the paper's
        equation 1).
    """

    k: int = 1
    sample: bool = False

    def check(self, channels: int) -> None:
        """Raises a UserError unless nodes of that width can be divided."""
        if self.k < 1:
            raise UserError(f"--method.k: {self.k}; expected at least 1")
        if channels % self.k:
            raise UserError(
                f"--channels: {channels} do not divide into --method.k {self.k} parts; "
                f"expected a multiple of {self.k}, for example "
                f"{self.k * max(1, round(channels / self.k))}"
            )

    def order(self, key: jax.Array | None, channels: int) -> jax.Array | None:
        """A random order of a cell's channels, as a matrix; None where it has none."""
        if key is None or not self.sample or self.k == 1:
            return None
        return jax.nn.one_hot(jax.random.permutation(key, channels), channels)

    def split(
        self, x: Float[Array, "... channel"], order: jax.Array | None
    ) -> tuple[Array, Array | None]:
        """What goes through the ops, and what is passed on (None if K is 1)."""
        if self.k == 1:
            return x, None
        if order is not None:
            x = _product(x, order.T)
        width = x.shape[-1] // self.k
        return x[..., :width], x[..., width:]

    def join(
        self, ahead: list[Array], rest: list[Array], order: jax.Array | None
    ) -> Array:
        """A node's value from what its edges bring; sums come before the shuffle."""
        total = functools.reduce(jnp.add, ahead)
        if self.k == 1:
            return total
        value = jnp.concatenate([total, functools.reduce(jnp.add, rest)], axis=-1)
        if order is not None:
            return _product(value, order)
        return value if self.sample else shuffle(value, self.k)


ALL_CHANNELS = PartialChannels()


def _product(x: Array, order: Array) -> Array:
    """Exact on every platform: each result is one of the values."""
    return jnp.matmul(x, order.astype(x.dtype), precision=lax.Precision.HIGHEST)


def shuffle(x: Num[Array, "... channel"], groups: int) -> Num[Array, "... channel"]:
    """Channel ``j groups + g`` of the result is channel ``g C / groups + j`` of x."""
    parts = x.reshape(*x.shape[:-1], groups, -1)
    return jnp.swapaxes(parts, -1, -2).reshape(x.shape)


def halve(
    x: Float[Array, "... height width channel"],
) -> Float[Array, "... half_height half_width channel"]:
    """The largest value of each 2 x 2 block; of equal ones the first in row-major order
    gets the gradient."""
    taps = [every(x, 2, (i, j)) for i in (0, 1) for j in (0, 1)]
    return functools.reduce(lambda best, tap: jnp.where(tap > best, tap, best), taps)
