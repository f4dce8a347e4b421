"""Names for the values that travel between the parts."""

from typing import Any, NamedTuple

import jax
import numpy as np

__all__ = ["AnyArray", "Arch", "Batch", "Metrics", "Now", "PyTree"]

PyTree = Any
Metrics = dict[str, jax.Array]

AnyArray = jax.Array | np.ndarray
"""On a device, or on the host, where a derived architecture is made."""


class Arch(NamedTuple):
    """The architecture parameters: two pytrees, each with its own optimiser state.

    Attributes:
      alpha: cell type to op logits, ``[edges, primitives]``.
      beta: cell type to edge logits, ``[edges]``; empty where a method has none.
      held: what a method decides rather than learns, as the primitives that an edge
        still has; a constant of every derivative. Empty where a method has none.
    """

    alpha: dict[str, jax.Array]
    beta: dict[str, jax.Array]
    held: PyTree = ()

    @property
    def learnt(self) -> "Arch":
        """Without what is held: what gradients and optimisers see."""
        return self._replace(held=())


class Batch(NamedTuple):
    """Images ``[batch, height, width, channels]`` and integer labels ``[batch]``."""

    images: jax.Array
    labels: jax.Array


class Now(NamedTuple):
    """The step at hand, for what is random in it or changes as a search goes on.

    Attributes:
      key: of this use in this step alone.
      step: number of steps done before it, int32.
    """

    key: jax.Array
    step: jax.Array
