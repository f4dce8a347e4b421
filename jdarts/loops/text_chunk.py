"""A chunk of search steps on a text that lives on the device."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh

from jdarts.data import Lengths, Segment, segment_at
from jdarts.loops.chunk import default_dtype, repeat
from jdarts.methods import SearchBatches, SearchMethod, SearchState
from jdarts.problem import Evaluation, Passage
from jdarts.sharding import shard_batch
from jdarts.types import Metrics, PyTree

__all__ = ["TextData", "make_text_chunk", "make_text_evaluation"]


class TextData(NamedTuple):
    """The text, whole, on every device.

    Attributes:
      train: the training part in columns, int32 ``[rows, batch]``.
      valid: the validation part in as many columns.
      held: the validation part in the columns of the evaluation; zeros follow, up to a
        whole number of segments and one row.
    """

    train: jax.Array
    valid: jax.Array
    held: jax.Array


def make_text_chunk(
    method: SearchMethod, lengths: Lengths, mesh: Mesh | None, *, steps_per_epoch: int
) -> Callable[..., tuple[SearchState, Metrics]]:
    """The function to compile.

    The weights read the training text from its beginning to its end in every epoch. The
    architecture reads the validation text from the same rows on, which has fewer: from
    its end it goes on at its beginning. Segments of all lengths are one program: their
    arrays are as long as the longest one.

    Args:
      method: the search method.
      lengths: of the segments; they follow from the step's number.
      mesh: the devices that batches are divided over; None: batches stay whole.
      steps_per_epoch: the chunk must not go past the end of an epoch.

    Returns:
      ``chunk(key, state, data, count) -> (state, metrics)``, see `jdarts.loops.chunk`.
    """
    search_step = jax.jit(method.step)  # traced once, for its shapes and for the loop
    longest = lengths.longest

    def shard(segment: Segment, axis: int) -> Segment:
        tokens, targets = shard_batch(segment[:2], mesh, axis)
        return segment._replace(tokens=tokens, targets=targets)

    def chunk(
        key: jax.Array, state: SearchState, data: TextData, count: jax.Array
    ) -> tuple[SearchState, Metrics]:
        first = state.step - state.step % steps_per_epoch
        starts = lengths.starts(first, steps_per_epoch)

        def at(text: jax.Array, number: jax.Array, start: jax.Array) -> Segment:
            """The segment of a step, by its number in the epoch."""
            length = lengths.at(first + number)
            return segment_at(text, start, length, longest, number == 0)

        def one(state: SearchState) -> tuple[SearchState, Metrics]:
            number = state.step - first
            ahead = (number + jnp.arange(method.train_batches)) % steps_per_epoch
            train = jax.vmap(lambda n: at(data.train, n, starts[n]))(ahead)
            start = starts[number] % (data.valid.shape[0] - longest)
            valid = at(data.valid, number, start)
            batches = SearchBatches(shard(train, 2), shard(valid, 1))
            return search_step(key, state, batches)

        return repeat(one, state, count)

    return chunk


def make_text_evaluation(
    evaluate: Callable[..., tuple[Evaluation, jax.Array]],
    *,
    units: int,
    length: int,
    rows: int,
) -> Callable[..., Evaluation]:
    """A network on the held part, from its beginning to its end.

    Args:
      evaluate: ``evaluate(state, passage, mask) -> (sums, hidden)``.
      units: width of the hidden state.
      length: time steps of a segment.
      rows: of the held part, without the zeros.

    Returns:
      ``evaluation(state, data, start, count) -> Evaluation``: sums over all tokens but
      the first row's; `start` and `count` mean nothing, it is always everything.
    """

    def evaluation(
        state: PyTree, data: Any, start: jax.Array, count: jax.Array
    ) -> Evaluation:
        del start, count

        def body(
            carry: tuple[Evaluation, jax.Array], first: jax.Array
        ) -> tuple[tuple[Evaluation, jax.Array], None]:
            sums, hidden = carry
            left = jnp.minimum(rows - 1 - first, length)
            segment = segment_at(data.held, first, left, length)
            passage = Passage(segment, hidden, jnp.int32(0))
            mask = jnp.ones(segment.tokens.shape, default_dtype())
            found, hidden = evaluate(state, passage, mask)
            return (jax.tree.map(jnp.add, sums, found), hidden), None

        zero = jnp.zeros((), default_dtype())
        hidden = jnp.zeros((data.held.shape[1], units), default_dtype())
        firsts = jnp.arange(0, rows - 1, length)
        (sums, _), _ = lax.scan(body, (Evaluation(zero, zero, zero), hidden), firsts)
        return sums

    return evaluation
