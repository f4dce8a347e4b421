"""What a relaxation is."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from jdarts.spaces import SearchSpace
from jdarts.types import Arch

__all__ = ["Relaxation"]


class Relaxation(NamedTuple):
    """From architecture parameters to the mixing weights of every edge.

    Attributes:
      init: ``init(key, space) -> Arch``, the start of a search.
      weights: ``weights(arch) -> mix``: cell type to ``[edges, primitives]``. The share
        of `none` is part of the weights and never part of an edge's sum.
      project: ``project(arch) -> arch``, applied after every architecture step.
    """

    init: Callable[[jax.Array, SearchSpace], Arch]
    weights: Callable[[Arch], dict[str, jax.Array]]
    project: Callable[[Arch], Arch]
