"""Searches in stages, each with its own network."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike

from jdarts.lazy import LazyModule
from jdarts.spaces import SearchSpace

if TYPE_CHECKING:
    import optax
else:
    optax = LazyModule("optax")

__all__ = ["Stages", "drop_weakest"]


class Stages(NamedTuple):
    """What a method that searches in stages says of them.

    Every stage has a new network. Its space is that of the stage before, with fewer
    primitives. The stages share the epochs in equal parts; schedules begin again.

    Attributes:
      added_layers: of each stage, the cells that its network has more than `layers`.
      narrow: ``narrow(space, mix, stage) -> space``: what is left, by the mixing
        weights at the end of that stage, from 0, for the next one.
      skip_rate: ``skip_rate(stage, epochs, steps_per_epoch)``: from the steps done in
        that stage, of so many epochs, to its rate of dropout after identities; None:
        there is none.
      check: ``check(space)`` raises a UserError for a space that does not fit.
    """

    added_layers: tuple[int, ...]
    narrow: Callable[[SearchSpace, Mapping[str, ArrayLike], int], SearchSpace]
    skip_rate: Callable[[int, int, int], "optax.Schedule | None"]
    check: Callable[[SearchSpace], Any]


def drop_weakest(
    space: SearchSpace, mix: Mapping[str, ArrayLike], count: int
) -> SearchSpace:
    """The same space, without so many primitives of each edge: the weakest ones.

    Of equally weak ones the earlier goes first.

    Args:
      space: each of its edges has more primitives than that.
      mix: cell type to mixing weights, ``[edges, primitives]``.
      count: how many.
    """
    cells = {}
    for kind, spec in space.cells.items():
        left = []
        for offered, weights in zip(spec.offered, np.asarray(mix[kind]), strict=True):
            own = np.flatnonzero(offered)
            lost = own[np.argsort(weights[own], kind="stable")[:count]]
            kept = [
                n for i, n in enumerate(spec.primitives) if i in set(own) - set(lost)
            ]
            left.append(tuple(kept))
        cells[kind] = dataclasses.replace(spec, edge_primitives=tuple(left))
    return dataclasses.replace(space, cells=cells)
