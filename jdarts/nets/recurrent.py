"""Language models of one recurrent cell, behind one seam: `RecurrentNetwork`."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jdarts.errors import UserError, unknown_choice
from jdarts.nets.recurrent_cell import (
    ACTIVATIONS,
    RecurrentCell,
    fixed_cell,
    mixed_cell,
)
from jdarts.ops.vocabulary import log_partition
from jdarts.spaces import Genotype, SearchSpace
from jdarts.types import PyTree

__all__ = [
    "Dropout",
    "Masks",
    "Reading",
    "RecurrentNetwork",
    "check_recurrent",
    "fixed_recurrent",
    "mixed_recurrent",
]

_INIT, _EPS, _MOMENTUM = 0.04, 1e-5, 0.9  # as in the DARTS code
KIND = "recurrent"
"""The one cell type."""


@dataclasses.dataclass(frozen=True)
class Dropout:
    """Rates of dropout; every mask is drawn once per segment and batch column."""

    output: float = 0.75
    """Of the states before the decoder, the same in all time steps; in [0, 1)."""
    hidden: float = 0.25
    """Of every state before a matrix of the cell reads it, the same in all time steps
    and nodes; in [0, 1)."""
    input: float = 0.75
    """Of the embedded word before the cell's first matrix, the same in all time steps;
    in [0, 1)."""
    embedded: float = 0.2
    """Of the embedded words, the same in all time steps; in [0, 1)."""
    word: float = 0.0
    """Of whole words of the vocabulary; in [0, 1)."""

    def check(self, where: str) -> None:
        """Raises a UserError for a rate out of range; `where` is the field's name."""
        for field in dataclasses.fields(self):
            rate = getattr(self, field.name)
            if not 0 <= rate < 1:
                raise UserError(
                    f"{where}.{field.name}: {rate}; expected 0 or more, less than 1"
                )


class Masks(NamedTuple):
    """What is dropped: factors 0 or ``1 / (1 - rate)``; None where nothing is.

    Attributes:
      output, hidden, input, embedded: ``[batch, unit]``.
      word: ``[vocabulary, 1]``.
    """

    output: jax.Array | None = None
    hidden: jax.Array | None = None
    input: jax.Array | None = None
    embedded: jax.Array | None = None
    word: jax.Array | None = None


class Reading(NamedTuple):
    """What a network makes of a segment.

    Logits are as many as words times tokens, and are not kept.

    Attributes:
      states: the cell's outputs, ``[time, batch, unit]``.
      kept: what the decoder sees of them: factors ``[batch, unit]``.
      hidden: the state after the last time step that counts, ``[batch, unit]``.
      table: the decoder's vectors, ``[vocabulary, unit]``.
      bias: added to each word's logit, ``[vocabulary]``.
    """

    states: jax.Array
    kept: jax.Array
    hidden: jax.Array
    table: jax.Array
    bias: jax.Array

    @property
    def dropped(self) -> jax.Array:
        """The states as the decoder sees them."""
        return self.states * self.kept

    @property
    def logits(self) -> jax.Array:
        """Of the next token, ``[time, batch, vocabulary]``."""
        return self.dropped @ self.table.T + self.bias

    def score(
        self, targets: Int[Array, "time batch"]
    ) -> tuple[Float[Array, "time batch"], Bool[Array, "time batch"]]:
        """The cross-entropies of the next tokens, in nats, and which of them have the
        largest logit."""
        partition, word = log_partition(self.states, self.kept, self.table, self.bias)
        own = (self.dropped * self.table[targets]).sum(-1) + self.bias[targets]
        return partition - own, word == targets


class RecurrentNetwork(NamedTuple):
    """A language model as pure functions.

    Attributes:
      init: ``init(key, dtype) -> (w, statistics)``; ``()`` where there are none.
      start: ``start(batch_size, dtype) -> hidden``, zeros.
      masks: ``masks(key, batch_size, dtype) -> Masks`` for one segment.
      apply: ``apply(w, statistics, mix, tokens, length, hidden, masks, train) ->
        (Reading, statistics)``. `tokens` are int ``[time, batch]``, of which the first
        `length` time steps count; `mix` maps the cell type to mixing weights, ``{}``
        for a derived cell. In training the normaliser uses each time step's and node's
        own batch statistics, and running ones are returned updated (None keeps none);
        in evaluation it uses `statistics`. Differentiable in reverse mode, and in any
        mode over that.
      vocabulary: number of tokens.
      units: width of embedding and states.
    """

    init: Callable[..., tuple[PyTree, PyTree]]
    start: Callable[..., jax.Array]
    masks: Callable[..., Masks]
    apply: Callable[..., tuple[Reading, PyTree]]
    vocabulary: int
    units: int


def mixed_recurrent(
    space: SearchSpace, *, vocabulary: int, units: int, dropout: Dropout
) -> RecurrentNetwork:
    """The search network of a recurrent space.

    One normaliser without scale and shift is shared by ``s_0``, all nodes and all time
    steps. Embedding and decoder share one matrix.

    Args:
      space: the search space; its one cell type is ``"recurrent"``.
      vocabulary: number of tokens, >= 2.
      units: width of embedding and states, >= 1.
      dropout: rates of dropout in training.
    """
    return _network(mixed_cell(space.cells[KIND]), vocabulary, units, dropout)


def fixed_recurrent(
    genotype: Genotype, *, vocabulary: int, units: int, dropout: Dropout
) -> RecurrentNetwork:
    """The network of a derived cell: no normaliser, no mixture.

    Args:
      genotype: with one cell of the type ``"recurrent"``.
      vocabulary: number of tokens, >= 2.
      units: width of embedding and states, >= 1.
      dropout: rates of dropout in training.

    Raises:
      UserError: if the genotype is not that of a recurrent cell.
    """
    check_recurrent(genotype)
    return _network(fixed_cell(genotype.cells[KIND]), vocabulary, units, dropout)


def check_recurrent(genotype: Genotype) -> None:
    """Raises a UserError unless a language model can be made of the genotype."""
    if set(genotype.cells) != {KIND}:
        found = ", ".join(genotype.cells) or "none"
        raise UserError(
            f"genotype: cells of the types {found}; a language model expects one of "
            f"type {KIND}"
        )
    cell = genotype.cells[KIND]
    try:
        cell.check()
    except ValueError as error:
        raise UserError(f"genotype, {KIND} cell: {error}") from None
    if cell.inputs != 1 or cell.output != "mean":
        raise UserError(
            f"genotype, {KIND} cell: {cell.inputs} inputs, output {cell.output}; "
            "expected 1 input, output mean"
        )
    for number, node in enumerate(cell.nodes, 1):
        if len(node) != 1:
            raise UserError(
                f"genotype, {KIND} cell: node {number} has {len(node)} connections; "
                "expected one"
            )
        if node[0].primitive not in ACTIVATIONS:
            raise unknown_choice(
                f"genotype, {KIND} cell: primitive", node[0].primitive, ACTIVATIONS
            )


def _network(
    cell: RecurrentCell, vocabulary: int, units: int, dropout: Dropout
) -> RecurrentNetwork:
    shapes = {
        "embedding": (vocabulary, units),
        "first": (2 * units, 2 * units),
        "nodes": (cell.nodes, units, 2 * units),
    }

    def init(key: jax.Array, dtype: Any = jnp.float32) -> tuple[PyTree, PyTree]:
        keys = jax.random.split(key, len(shapes))
        w = {
            name: jax.random.uniform(k, shape, dtype, -_INIT, _INIT)
            for k, (name, shape) in zip(keys, shapes.items(), strict=True)
        }
        w["decoder_bias"] = jnp.zeros(vocabulary, dtype)
        if not cell.normalised:
            return w, ()
        return w, {"mean": jnp.zeros(units, dtype), "var": jnp.ones(units, dtype)}

    def start(batch_size: int, dtype: Any = jnp.float32) -> jax.Array:
        return jnp.zeros((batch_size, units), dtype)

    def masks(key: jax.Array, batch_size: int, dtype: Any = jnp.float32) -> Masks:
        keys = jax.random.split(key, len(Masks._fields))
        drawn = {}
        for k, name in zip(keys, Masks._fields, strict=True):
            rate = getattr(dropout, name)
            shape = (vocabulary, 1) if name == "word" else (batch_size, units)
            if rate:
                kept = jax.random.bernoulli(k, 1 - rate, shape)
                drawn[name] = kept.astype(dtype) / (1 - rate)
        return Masks(**drawn)

    def apply(
        w: PyTree,
        statistics: PyTree,
        mix: dict[str, jax.Array],
        tokens: Int[Array, "time batch"],
        length: jax.Array,
        hidden: Float[Array, "batch unit"],
        masks: Masks,
        train: bool,
    ) -> tuple[Reading, PyTree]:
        embedding = w["embedding"]
        table = embedding if masks.word is None else embedding * masks.word
        embedded = _drop(table[tokens], masks.embedded)
        # The word's share in the first product, for all time steps at once.
        words = _drop(embedded, masks.input) @ w["first"][:units]
        normalise = _normaliser(cell.normalised, train)
        arranged = cell.arrange(w["nodes"], mix.get(KIND))

        def step(
            carry: tuple[jax.Array, PyTree], inputs: tuple[jax.Array, jax.Array]
        ) -> tuple[tuple[jax.Array, PyTree], jax.Array]:
            before, old = carry
            word, number = inputs
            product = word + _drop(before, masks.hidden) @ w["first"][units:]
            gate, value = product[:, :units], product[:, units:]
            state = before + jax.nn.sigmoid(gate) * (jnp.tanh(value) - before)
            state, new = normalise(state, old)
            state, new = cell.step(arranged, state, masks.hidden, normalise, new)
            counts = number < length
            state = jnp.where(counts, state, before)
            new = jax.tree.map(lambda a, b: jnp.where(counts, a, b), new, old)
            return (state, new), state

        times = jnp.arange(tokens.shape[0])
        (hidden, statistics), states = lax.scan(
            step, (hidden, statistics), (words, times)
        )
        kept = jnp.ones_like(hidden) if masks.output is None else masks.output
        decoder = embedding, w["decoder_bias"]
        return Reading(states, kept, hidden, *decoder), statistics

    return RecurrentNetwork(init, start, masks, apply, vocabulary, units)


def _drop(x: jax.Array, mask: jax.Array | None) -> jax.Array:
    return x if mask is None else x * mask


def _normaliser(normalised: bool, train: bool) -> Callable[..., Any]:
    """``normalise(state, statistics)``; see `RecurrentNetwork.apply`."""

    def by_batch(state: jax.Array, statistics: PyTree) -> tuple[jax.Array, PyTree]:
        mean, var = state.mean(axis=0), state.var(axis=0)
        if statistics is not None:
            count = state.shape[0]
            unbiased = var * (count / max(count - 1, 1))
            new = {"mean": mean, "var": unbiased}
            statistics = jax.tree.map(
                lambda old, now: _MOMENTUM * old + (1 - _MOMENTUM) * now,
                statistics,
                lax.stop_gradient(new),
            )
        return (state - mean) * lax.rsqrt(var + _EPS), statistics

    def by_running(state: jax.Array, statistics: PyTree) -> tuple[jax.Array, PyTree]:
        mean, var = statistics["mean"], statistics["var"]
        return (state - mean) * lax.rsqrt(var + _EPS), statistics

    if not normalised:
        return lambda state, statistics: (state, statistics)
    return by_batch if train else by_running
