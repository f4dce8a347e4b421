"""Random genotypes: what a search has to beat."""

from collections.abc import Callable, Collection, Hashable

import numpy as np

from jdarts.errors import UserError
from jdarts.spaces.base import CellSpec, SearchSpace
from jdarts.spaces.genotype import CellGenotype, Connection, Genotype

__all__ = ["network_of", "random_genotype", "random_genotype_of_size"]


def random_genotype(space: SearchSpace, rng: np.random.Generator) -> Genotype:
    """A genotype drawn uniformly from all that the rule of DARTS can derive.

    Each node has ``keep`` connections from distinct earlier nodes (or from all of them,
    where there are fewer), each with any primitive but `none`. Nodes are numbered, so
    two genotypes may still describe the same graph. Other rules:
    `jdarts.methods.random_genotype_of`.

    Args:
      space: the search space.
      rng: advanced by the draw.
    """
    cells = {kind: _random_cell(spec, rng) for kind, spec in space.cells.items()}
    return Genotype(space=space.name, cells=cells)


def _random_cell(spec: CellSpec, rng: np.random.Generator) -> CellGenotype:
    """Where every edge is kept, `none` is one of its choices: no connection."""
    nodes = []
    for node, rows in zip(spec.intermediate, spec.node_slices, strict=True):
        count = node if spec.keep is None else min(spec.keep, node)
        sources = sorted(rng.choice(node, count, replace=False))
        choices = [spec.choices(rows.start + source) for source in sources]
        chosen = rng.integers([len(columns) for columns in choices])
        connections = (
            Connection(spec.primitives[columns[c]], int(source))
            for columns, c, source in zip(choices, chosen, sources, strict=True)
        )
        nodes.append(tuple(c for c in connections if c.primitive != "none"))
    return CellGenotype(tuple(nodes), spec.concat, spec.inputs, spec.merge)


def network_of(genotype: Genotype) -> Hashable:
    """Equal for equal networks: the order of a node's connections does not count."""
    return tuple(
        (kind, tuple(tuple(sorted(node)) for node in cell.nodes), cell.concat)
        for kind, cell in sorted(genotype.cells.items())
    )


def random_genotype_of_size(
    draw: Callable[[np.random.Generator], Genotype],
    rng: np.random.Generator,
    size: Callable[[Genotype], float],
    target: float,
    *,
    tolerance: float = 0.05,
    tries: int = 10_000,
    exclude: Collection[Hashable] = (),
    kinds: Collection[str] | None = None,
) -> tuple[Genotype, int]:
    """A genotype drawn from those whose size is close to a given one.

    By rejection: drawn until ``|size - target| <= tolerance * target`` and
    the network is not excluded.

    Args:
      draw: draws one of any size.
      rng: advanced by the draws.
      size: of a genotype, for example the number of its network's parameters.
      target: the size to match, > 0.
      tolerance: the allowed relative difference, >= 0.
      tries: the largest number of draws.
      exclude: networks (`network_of`) that must not come again.
      kinds: the cell types that it has; None: all of the space.

    Returns:
      The genotype, and the number of draws that it took.

    Raises:
      UserError: if no draw was close enough.
    """
    nearest, name = float("inf"), ""
    for draws in range(1, tries + 1):
        genotype = draw(rng)
        name = genotype.space
        if kinds is not None:
            genotype = genotype.only(kinds)
        if network_of(genotype) in exclude:
            continue
        found = size(genotype)
        if abs(found - target) <= tolerance * target:
            return genotype, draws
        nearest = min(nearest, found, key=lambda s: abs(s - target))
    raise UserError(
        f"--tolerance: {tolerance}; none of {tries} random genotypes of space "
        f"'{name}' comes within that of size {target:.6g} (nearest: "
        f"{nearest:.6g}); expected a wider tolerance, or fewer random genotypes"
    )
