"""The shape of a network as plain data, for a process that has PyTorch but not jax."""

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jdarts import Genotype, SearchSpace

__all__ = [
    "CellPlan",
    "Plan",
    "cell_from_json",
    "derived_plan",
    "from_json",
    "make_plan",
    "to_json",
]


@dataclasses.dataclass(frozen=True)
class CellPlan:
    """One cell of a supernet.

    Attributes:
      kind: the cell type: the key of its logits.
      channels: width of every node.
      stride: of the edges that leave the two inputs.
      halve_first: whether input 0 is twice as large as input 1.
      nodes: number of intermediate nodes; each has an edge from every earlier node.
      primitives: an edge's operations, in the order of the columns of the logits.
    """

    kind: str
    channels: int
    stride: int
    halve_first: bool
    nodes: int
    primitives: tuple[str, ...]

    @property
    def edges(self) -> list[tuple[int, int]]:
        """``(source, target)`` in the order of the rows; the inputs are 0 and 1."""
        targets = range(2, 2 + self.nodes)
        return [(source, target) for target in targets for source in range(target)]


@dataclasses.dataclass(frozen=True)
class Plan:
    """A supernet: the stem's width, the number of classes, the cells."""

    stem: int
    classes: int
    cells: tuple[CellPlan, ...]


def make_plan(space: "SearchSpace", channels: int, layers: int, classes: int) -> Plan:
    """What `jdarts.supernet` builds from the same arguments."""
    cells, width, halve_first = [], channels, False
    for kind in space.layout(layers):
        spec = space.cells[kind]
        width *= spec.stride
        cells.append(
            CellPlan(kind, width, spec.stride, halve_first, spec.nodes, spec.primitives)
        )
        halve_first = spec.stride == 2
    return Plan(space.stem_multiplier * channels, classes, tuple(cells))


def derived_plan(
    genotype: "Genotype", channels: int, layers: int, classes: int
) -> dict[str, Any]:
    """What `jdarts.fixed_network` builds for CIFAR, with its auxiliary head.

    Cells are objects with ``channels``, ``stride`` (of the connections that leave the
    inputs), ``halve_first`` (whether input 0 is twice as large as input 1), ``nodes``
    (each a list of operation and source) and ``concat``.
    """
    cells, width, halve_first = [], channels, False
    for i in range(layers):
        reduces = i in (layers // 3, 2 * layers // 3)
        cell = genotype.cells["reduce" if reduces else "normal"]
        width *= 2 if reduces else 1
        cells.append(
            {
                "channels": width,
                "stride": 2 if reduces else 1,
                "halve_first": halve_first,
                "nodes": [[list(edge) for edge in node] for node in cell.nodes],
                "concat": list(cell.concat),
            }
        )
        halve_first = reduces
    return {
        "stem": 3 * channels,
        "classes": classes,
        "aux_cell": 2 * layers // 3,
        "cells": cells,
    }


def to_json(plan: Plan | CellPlan) -> dict[str, Any]:
    return dataclasses.asdict(plan)


def from_json(data: dict[str, Any]) -> Plan:
    cells = tuple(cell_from_json(cell) for cell in data["cells"])
    return Plan(data["stem"], data["classes"], cells)


def cell_from_json(data: dict[str, Any]) -> CellPlan:
    return CellPlan(**data | {"primitives": tuple(data["primitives"])})
