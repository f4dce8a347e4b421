"""What a relaxation is."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from jdarts.spaces import SearchSpace
from jdarts.types import Arch

__all__ = ["Relaxation", "normal_alpha", "straight_through"]


class Relaxation(NamedTuple):
    """From architecture parameters to the mixing weights of every edge.

    Attributes:
      init: ``init(key, space) -> Arch``, the start of a search.
      weights: ``weights(arch, now=None) -> mix``: cell type to ``[edges, primitives]``.
        The share of `none` is part of the weights and never part of an edge's sum.
        `now` is the step; without it nothing is random: the weights that stand for all
        draws, by which a supernet is evaluated.
      project: ``project(arch) -> arch``, applied after every architecture step.
      mean: ``mean(arch) -> mix``: the mean of all draws, for records and genotypes;
        None: ``weights(arch)`` is it.
      ranks: ``ranks(arch)``: cell type to ``[edges, primitives]``: the order that a
        genotype is derived by, where the mean weighs some ops 0 and others exactly 1;
        None: the mean is it.
    """

    init: Callable[[jax.Array, SearchSpace], Arch]
    weights: Callable[..., dict[str, jax.Array]]
    project: Callable[[Arch], Arch]
    mean: Callable[[Arch], dict[str, jax.Array]] | None = None
    ranks: Callable[[Arch], dict[str, jax.Array]] | None = None

    def expected(self, arch: Arch) -> dict[str, jax.Array]:
        """The mean of all draws."""
        return (self.mean or self.weights)(arch)


def normal_alpha(
    key: jax.Array, space: SearchSpace, scale: float
) -> dict[str, jax.Array]:
    """Alpha at the start: normal with mean 0 and that standard deviation."""
    keys = jax.random.split(key, len(space.cells))
    return {
        kind: scale * jax.random.normal(k, (len(spec.edges), len(spec.primitives)))
        for k, (kind, spec) in zip(keys, sorted(space.cells.items()), strict=True)
    }


@jax.custom_jvp
def straight_through(soft: jax.Array, value: jax.Array) -> jax.Array:
    """`value`, with the derivative of `soft`."""
    return value


@straight_through.defjvp
def _straight_through_jvp(primals: tuple, tangents: tuple) -> tuple:
    return primals[1], tangents[0]
