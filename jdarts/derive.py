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
    """As a rule derives, but with at most ``spec.max_skips`` skip connections.

    The refinement of P-DARTS (Chen et al., ICCV 2019, section 3.3): while the cell has
    more, the one with the smallest weight is no candidate any more and the cell is
    derived again, so that its edge gets the runner-up, or loses its place.

    Args:
      rule: for one cell.
    """

    def capped(spec: CellSpec, weights: ArrayLike) -> CellGenotype:
        cell = rule(spec, weights)
        if spec.max_skips is None:
            return cell
        weights = np.array(weights, float)
        skip = spec.primitives.index(SKIP)
        while len(rows := _skip_rows(spec, cell)) > spec.max_skips:
            weights[min(rows, key=lambda row: weights[row, skip]), skip] = -np.inf
            cell = rule(spec, weights)
        return cell

    return capped


def _skip_rows(spec: CellSpec, cell: CellGenotype) -> list[int]:
    """The edges, rows of alpha, that are skip connections."""
    return [
        rows.start + source
        for rows, node in zip(spec.node_slices, cell.nodes, strict=True)
        for primitive, source in node
        if primitive == SKIP
    ]


def with_max_skips(
    space: SearchSpace, most: int, *, every_edge: bool = False
) -> SearchSpace:
    """The same space with a cap on the skip connections of the derived normal cell.

    Args:
      space: the space.
      most: the cap.
      every_edge: whether the method derives all edges, not those that cells keep.

    Raises:
      UserError: if the space has no skip connection or nothing else, or the cap is out
        of range or without effect.
    """
    spec, flag = space.cells.get("normal"), "--max-skips"
    others = () if spec is None else set(spec.primitives) - {SKIP, "none"}
    if spec is None or SKIP not in spec.primitives or not others:
        raise UserError(
            f"{flag}: the normal cell of --space {space.name} has no choice between "
            f"{SKIP} and another primitive; expected no cap, or another space"
        )
    edges = [rows.stop - rows.start for rows in spec.node_slices]
    kept = None if every_edge else spec.keep
    possible = sum(min(kept or count, count) for count in edges)
    if not 0 <= most < possible:
        raise UserError(
            f"{flag}: {most}; expected 0 to {possible - 1} (the normal cell of "
            f"--space {space.name} gets {possible} connections)"
        )
    capped = dataclasses.replace(spec, max_skips=most)
    return dataclasses.replace(space, cells={**space.cells, "normal": capped})


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
    columns = spec.op_columns
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
    return CellGenotype(tuple(nodes), spec.concat, spec.inputs, spec.merge)


def derive_in_order(spec: CellSpec, weights: ArrayLike) -> CellGenotype:
    """The rule of P-DARTS: what `derive_cell` keeps, but a node's connections in the
    order of their sources, and of equally strong edges the later ones (the authors'
    code)."""
    weights, nodes = np.asarray(weights), []
    columns = spec.op_columns
    candidates = weights[:, columns]
    for rows in spec.node_slices:
        own = candidates[rows]
        order = np.argsort(own.max(axis=1), kind="stable")
        nodes.append(
            tuple(
                Connection(spec.primitives[columns[own[source].argmax()]], int(source))
                for source in sorted(order[-(spec.keep or len(own)) :])
            )
        )
    return CellGenotype(tuple(nodes), spec.concat, spec.inputs, spec.merge)


def derive_pairs(spec: CellSpec, weights: ArrayLike) -> CellGenotype:
    """The rule of GDAS: each node keeps its ``spec.keep`` strongest pairs of an edge
    and a primitive, of which two may be of one edge (the authors' code).

    `none` is left out; ties go to the lower source and to the earlier primitive.
    """
    weights, nodes = np.asarray(weights), []
    columns = spec.op_columns
    for rows in spec.node_slices:
        strengths = weights[rows][:, columns].ravel()
        order = np.argsort(-strengths, kind="stable")[: spec.keep]
        pairs = (divmod(int(place), len(columns)) for place in order)
        nodes.append(
            tuple(Connection(spec.primitives[columns[op]], edge) for edge, op in pairs)
        )
    return CellGenotype(tuple(nodes), spec.concat, spec.inputs, spec.merge)


def derive_every_edge(spec: CellSpec, weights: ArrayLike) -> CellGenotype:
    """The rule of SNAS: every edge keeps its strongest primitive; where that is `none`
    there is no connection (ICLR 2019, section 2.1)."""
    best, nodes = np.asarray(weights).argmax(axis=1), []
    for rows in spec.node_slices:
        names = [spec.primitives[column] for column in best[rows]]
        edges = (Connection(name, source) for source, name in enumerate(names))
        nodes.append(tuple(edge for edge in edges if edge.primitive != "none"))
    return CellGenotype(tuple(nodes), spec.concat, spec.inputs, spec.merge)


def derive_above(threshold: float) -> Rule:
    """The rule of Fair DARTS: of what `derive_cell` keeps, the connections whose weight
    reaches a threshold (ECCV 2020, section 3.3); a node may have none.

    Where none of a cell's reaches it, the strongest ones stay.

    Args:
      threshold: in (0, 1).
    """

    def rule(spec: CellSpec, weights: ArrayLike) -> CellGenotype:
        weights, nodes = np.asarray(weights), []
        columns = spec.op_columns
        least = min(threshold, float(weights[:, columns].max()))
        cell = derive_cell(spec, weights)
        for rows, node in zip(spec.node_slices, cell.nodes, strict=True):
            column = spec.primitives.index
            nodes.append(
                tuple(
                    connection
                    for connection in node
                    if weights[rows.start + connection.source, column(connection[0])]
                    >= least
                )
            )
        return CellGenotype(tuple(nodes), spec.concat, spec.inputs, spec.merge)

    return rule
