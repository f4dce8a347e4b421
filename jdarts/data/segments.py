"""From a long text to what a recurrent network reads: columns, and segments of them."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Int, Int32

from jdarts.errors import UserError

__all__ = ["Lengths", "Segment", "columns", "segment_at"]


class Segment(NamedTuple):
    """A piece of text for back-propagation through time.

    Attributes:
      tokens: int32 ``[time, batch]``.
      targets: the tokens that follow, of the same shape.
      length: int32, how many of the time steps count; the rest are to be ignored.
      fresh: bool, whether the text begins here: the state before it is zero.
    """

    tokens: jax.Array
    targets: jax.Array
    length: jax.Array
    fresh: jax.Array


def columns(
    tokens: Int[np.ndarray, " n"], batch_size: int, least: int, what: str
) -> Int32[np.ndarray, "rows batch"]:
    """The text cut into `batch_size` pieces that stand side by side; the rest is left.

    Args:
      tokens: the text.
      batch_size: number of columns.
      least: rows that there have to be.
      what: the part of the text, for the error.

    Raises:
      UserError: if the text is too short.
    """
    rows = len(tokens) // batch_size
    if rows < least:
        raise UserError(
            f"{what}: {len(tokens)} tokens make {batch_size} columns of {rows}; "
            f"expected at least {batch_size} x {least} tokens, a smaller batch or "
            "shorter segments"
        )
    return np.ascontiguousarray(
        tokens[: rows * batch_size].reshape(batch_size, rows).T, np.int32
    )


def segment_at(
    text: Int[Array, "rows batch"],
    start: ArrayLike,
    length: ArrayLike,
    longest: int,
    fresh: ArrayLike = False,
) -> Segment:
    """The segment that begins at a row.

    Args:
      text: from `columns`.
      start: its first row; one that is closer to the end than `longest` begins there.
      length: time steps that count, at most `longest`; may be traced.
      longest: time steps of the arrays.
      fresh: see `Segment`; may be traced.
    """
    start = jnp.clip(start, 0, max(text.shape[0] - 1 - longest, 0))
    rows = jax.lax.dynamic_slice_in_dim(text, start, longest + 1)
    length, fresh = jnp.asarray(length, jnp.int32), jnp.asarray(fresh, bool)
    return Segment(rows[:-1], rows[1:], length, fresh)


class Lengths(NamedTuple):
    """How long the segments are: at random, so that texts are not always cut alike.

    With probability `halved` half of `base` is meant, otherwise `base`; with a
    `deviation` the length is drawn around that from a normal distribution and kept
    between `least` (or `base`, if that is less) and `longest` (Merity, Keskar, Socher,
    ICLR 2018, section 5). The draws depend on the step's number alone, so that the
    learning rate, which goes with the length, is a function of the step.

    Attributes:
      base: the usual length, >= 2.
      halved: probability of half the length, in [0, 1].
      deviation: standard deviation; 0: none.
      least: the shortest.
    """

    base: int
    halved: float = 0.05
    deviation: float = 0.0
    least: int = 5

    @property
    def longest(self) -> int:
        """The time steps that a segment's arrays have."""
        return self.base + math.ceil(4 * self.deviation)

    def at(self, step: ArrayLike) -> jax.Array:
        """The length of a step's segment, int32."""
        key = jax.random.fold_in(jax.random.key(0), step)
        half_key, normal_key = jax.random.split(key)
        usual = jax.random.uniform(half_key, (), jnp.float32) >= self.halved
        mean = jnp.where(usual, float(self.base), self.base / 2)
        drawn = mean
        if self.deviation:
            normal = jax.random.normal(normal_key, (), jnp.float32)
            drawn = mean + self.deviation * normal
        least = min(self.least, self.base)
        return jnp.clip(jnp.floor(drawn).astype(jnp.int32), least, self.longest)

    def rate(self, step: ArrayLike) -> jax.Array:
        """What the learning rate of a step is multiplied by: ``length / base``."""
        return self.at(step) / self.base

    def starts(self, first: jax.Array, count: int) -> Int32[Array, " count"]:
        """The first rows of the segments of `count` steps from step `first` on."""
        lengths = jax.vmap(self.at)(first + jnp.arange(count))
        return jnp.cumsum(lengths) - lengths

    def per_epoch(self, rows: int) -> int:
        """Segments in one pass over that many rows, by their mean length; at least 1.

        An epoch has that many whatever the draws: a few rows at the end may be left
        out, or the last segments overlap.
        """
        least = min(self.least, self.base)
        half = max(self.base / 2 if self.deviation else self.base // 2, least)
        mean = self.base * (1 - self.halved) + half * self.halved
        if self.deviation:
            mean -= 0.5  # what rounding down takes
        return max(1, round((rows - 1) / mean))
