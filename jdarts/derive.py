"""From mixing weights to a discrete architecture."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from jax.typing import ArrayLike

from jdarts.errors import UserError
from jdarts.spaces import CellGenotype, CellSpec, Connection, Genotype, SearchSpace

__all__ = [
    "MixingWeights",
    "Rule",
    "cap_skips",
    "derive_above",
    "derive_cell",
    "derive_every_edge",
    "derive_genotype",
    "derive_in_order",
    "derive_pairs",
    "with_max_skips",
    "without_none",
]

SKIP = "skip_connect"


MixingWeights = Mapping[str, ArrayLike]
"""Cell type to ``[edges, primitives]``."""

Rule = Callable[[CellSpec, ArrayLike], CellGenotype]
"""From a cell type and its mixing weights, ``[edges, primitives]``, to the cell."""


def derive_genotype(
    space: SearchSpace,
    mix: MixingWeights,
    rule: Rule | None = None,
) -> Genotype:
    """Keeps the strongest connections of every node.

    Args:
      space: the search space.
      mix: cell type to ``[edges, primitives]``: mixing weights, or what ranks
        connections in their place.
      rule: for one cell; by default `derive_cell`. In a space that keeps every edge it
        is `derive_every_edge`; in a recurrent cell, whose nodes read one state each,
        `derive_cell`. Cells with `max_skips` get no more, see `cap_skips`.
    """
    cells = {}
    for kind, spec in space.cells.items():
        own = derive_every_edge if spec.keep is None else rule or derive_cell
        own = derive_cell if spec.merge == "mean" else own
        cells[kind] = cap_skips(own)(spec, mix[kind])
    return Genotype(space=space.name, cells=cells)


def without_none(space: SearchSpace, mix: MixingWeights) -> dict[str, np.ndarray]:
    """Mixing weights of which `none` is never the largest, also where it might be kept:
    its own become ``-inf``."""
    found = {}
    for kind, spec in space.cells.items():
        none = np.array([name == "none" for name in spec.primitives])
        found[kind] = np.where(none, -np.inf, np.asarray(mix[kind]))
    return found


def cap_skips(rule: Rule) -> Rule:
