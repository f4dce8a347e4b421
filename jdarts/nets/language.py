"""A language model with what its training adds to the network."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jdarts.nets.partial import ALL_CHANNELS, PartialChannels
from jdarts.nets.recurrent import Reading, RecurrentNetwork

__all__ = ["LanguageModel", "language_model"]


class LanguageModel(NamedTuple):
    """A recurrent network and how it is trained on segments.

    Attributes:
      network: the network.
      rate: of a step: what its learning rate is multiplied by, as segments differ in
        length.
      activation: alpha of the penalty, >= 0.
      slowness: beta of the penalty, >= 0.
      apply: that of the network.
      apply_single: the same for mixing weights of which each edge has one alone. All
        ops are computed all the same: the products with the matrices, which are the
        work, serve them all.
      partial: which units go through the ops: all of them.
      price: as of `jdarts.nets.network.Network`.
    """

    network: RecurrentNetwork
    rate: Callable[[ArrayLike], Any]
    activation: float
    slowness: float
    apply: Callable[..., tuple[Reading, object]]
    apply_single: Callable[..., tuple[Reading, object]]
    partial: PartialChannels = ALL_CHANNELS
    price: Callable[..., jax.Array] | None = None

    def penalty(self, reading: Reading, length: jax.Array) -> jax.Array:
        """``alpha mean(d_t^2) + beta mean((h_t - h_{t-1})^2)`` over the first `length`
        time steps, d the states after dropout, h before it.

        Merity, McCann, Socher, 'Revisiting activation regularization', 2017.
        """
        total = jnp.zeros((), reading.states.dtype)
        if self.activation:
            squares = jnp.square(reading.dropped).mean((1, 2))
            total += self.activation * _mean(squares, length)
        if self.slowness:
            squares = jnp.square(jnp.diff(reading.states, axis=0)).mean((1, 2))
            total += self.slowness * _mean(squares, length - 1)
        return total


def language_model(
    network: RecurrentNetwork,
    rate: Callable[[ArrayLike], Any],
    *,
    activation: float = 0.0,
    slowness: float = 0.0,
) -> LanguageModel:
    """A network with what its training adds; see `LanguageModel`."""
    apply = network.apply
    return LanguageModel(network, rate, activation, slowness, apply, apply)


def _mean(values: jax.Array, count: jax.Array) -> jax.Array:
    """Over the first `count` values; 0 of none."""
    chosen = jnp.arange(len(values)) < count
    return (values * chosen).sum() / jnp.maximum(count, 1)
