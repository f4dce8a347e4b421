"""From mixing weights to a discrete architecture."""

from collections.abc import Mapping

import numpy as np
from jax.typing import ArrayLike

from jdarts.spaces import CellGenotype, CellSpec, Connection, Genotype, SearchSpace

__all__ = ["derive_cell", "derive_genotype"]


def derive_genotype(space: SearchSpace, mix: Mapping[str, ArrayLike]) -> Genotype:
    """Keeps the strongest connections of every node.

    Args:
      space: the search space.
      mix: cell type to mixing weights, ``[edges, primitives]``.
    """
    cells = {kind: derive_cell(spec, mix[kind]) for kind, spec in space.cells.items()}
    return Genotype(space=space.name, cells=cells)


def derive_cell(spec: CellSpec, weights: ArrayLike) -> CellGenotype:
    """The rule of DARTS (ICLR 2019, section 2.4).

    An edge's strength is the largest weight among its primitives without `none` (which
    has taken its share of the weights before). Each node keeps the ``spec.keep``
    strongest edges, each with its strongest primitive; strongest first. Ties go to the
    lower source and to the earlier primitive.

    Args:
      spec: the cell type.
      weights: mixing weights, ``[edges, primitives]``.
    """
    weights = np.asarray(weights)
    columns = [i for i, name in enumerate(spec.primitives) if name != "none"]
    candidates = weights[:, columns]
    best = candidates.argmax(axis=1)  # the first one, if several are largest
    nodes = []
    for rows in spec.node_slices:
        strengths = candidates[rows].max(axis=1)
        order = np.argsort(-strengths, kind="stable")[: spec.keep]
        nodes.append(
            tuple(
                Connection(
                    primitive=spec.primitives[columns[best[rows.start + source]]],
                    source=int(source),
                )
                for source in order
            )
        )
    return CellGenotype(tuple(nodes), spec.concat, spec.inputs, spec.output)
