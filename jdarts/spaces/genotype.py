"""A genotype: the discrete architecture that a search ends with."""

import dataclasses
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from jdarts.errors import UserError
from jdarts.regular_file import read_regular

__all__ = ["MAX_NODES", "OUTPUTS", "CellGenotype", "Connection", "Genotype"]

OUTPUTS = ("concat", "mean")
"""How a cell's nodes become its output."""

MAX_NODES = 100
"""Intermediate nodes of a cell, and connections into one of them; published cells have
up to 11 and 5. Networks of more would take hours to compile."""

_MALFORMED = (TypeError, KeyError, ValueError, OverflowError, AttributeError)


class Connection(NamedTuple):
    """One chosen edge: a primitive applied to an earlier node of the cell."""

    primitive: str
    source: int


@dataclasses.dataclass(frozen=True)
class CellGenotype:
    """One cell type: the connections that enter each intermediate node.

    Attributes:
      nodes: for each intermediate node, in order, its incoming connections, strongest
        first. Node numbers count the cell's inputs first: with two inputs the first
        intermediate node is number 2.
      concat: the nodes whose values are concatenated to the cell's output (averaged in
        a recurrent cell).
      inputs: number of input nodes: the outputs of that many cells before; in a
        recurrent cell one, the state made of the word and the state before.
      output: how `concat` becomes the output: ``"concat"``, or ``"mean"`` in a
        recurrent cell.
    """

    nodes: tuple[tuple[Connection, ...], ...]
    concat: tuple[int, ...]
    inputs: int = 2
    output: str = "concat"

    @property
    def input_names(self) -> tuple[str, ...]:
        """The input nodes, as drawings name them: indices after an underscore."""
        if self.output == "mean":
            return ("s_0",)
        return tuple(f"c_{{k-{self.inputs - i}}}" for i in range(self.inputs))

    @property
    def output_name(self) -> str:
        """The output, as drawings name it."""
        return "h_t" if self.output == "mean" else "c_{k}"

    @property
    def connections(self) -> tuple[Connection, ...]:
        """All connections, node by node."""
        return tuple(connection for node in self.nodes for connection in node)

    def check(self) -> None:
        """Raises a ValueError for a connection that does not come from before, an
        output made of nodes that there are not, or an absurd number of nodes."""
        if self.output not in OUTPUTS:
            raise ValueError(f"output is '{self.output}', expected concat or mean")
        if self.output == "mean" and self.inputs != 1:
            raise ValueError(f"{self.inputs} inputs, expected 1 with output mean")
        most = max([len(self.nodes), *map(len, self.nodes)])
        if most > MAX_NODES or not 1 <= self.inputs <= MAX_NODES:
            raise ValueError(
                f"{len(self.nodes)} nodes with up to {most} connections, and "
                f"{self.inputs} inputs; expected at most {MAX_NODES} of each"
            )
        last = self.inputs + len(self.nodes) - 1
        for node in self.concat:
            if not self.inputs <= node <= last:
                raise ValueError(
                    f"concat names node {node}, expected {self.inputs} to {last}"
                )
        if not self.concat:
            raise ValueError("concat names no node, expected at least one")
        for number, node in enumerate(self.nodes, self.inputs):
            for name, source in node:
                if not 0 <= source < number:
                    raise ValueError(
                        f"{name} of node {number} reads node {source}, "
                        f"expected 0 to {number - 1}"
                    )


@dataclasses.dataclass(frozen=True)
class Genotype:
    """The cells of one architecture, by cell type.

    Attributes:
      space: the name of the search space that it belongs to.
      cells: cell type (``"normal"``, ``"reduce"``, ``"recurrent"``) to its genotype.
    """

    space: str
    cells: dict[str, CellGenotype]

    @property
    def task(self) -> str:
        """What its networks are for: ``"text"`` (recurrent cells) or ``"images"``."""
        recurrent = any(cell.output == "mean" for cell in self.cells.values())
        return "text" if recurrent else "images"

    def only(self, kinds: Collection[str]) -> "Genotype":
        """The same with cells of these types alone."""
        cells = {kind: cell for kind, cell in self.cells.items() if kind in kinds}
        return dataclasses.replace(self, cells=cells)

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``json.dumps``; `from_json` reads it back unchanged."""
        return {
            "space": self.space,
            "cells": {
                kind: {
                    "nodes": [[list(edge) for edge in node] for node in cell.nodes],
                    "concat": list(cell.concat),
                }
                | ({} if cell.inputs == 2 else {"inputs": cell.inputs})
                | ({} if cell.output == "concat" else {"output": cell.output})
                for kind, cell in self.cells.items()
            },
        }

    @classmethod
    def from_json(cls, data: Any, source: str = "genotype") -> "Genotype":
        """Reads what `to_json` wrote.

        Args:
          data: the parsed JSON.
          source: the file's name, for the error.

        Raises:
          UserError: if the data does not have that form, or a connection names a node
            that does not come before its own.
        """
        try:
            cells = {
                kind: CellGenotype(
                    nodes=tuple(
                        tuple(Connection(str(name), int(src)) for name, src in node)
                        for node in cell["nodes"]
                    ),
                    concat=tuple(int(node) for node in cell["concat"]),
                    inputs=int(cell.get("inputs", 2)),
                    output=str(cell.get("output", "concat")),
                )
                for kind, cell in data["cells"].items()
            }
            for cell in cells.values():
                cell.check()
            return cls(space=str(data["space"]), cells=cells)
        except _MALFORMED as error:
            raise UserError(
                f"{source}: not a genotype ({type(error).__name__}: {error}); expected "
                '{"space": NAME, "cells": {KIND: {"nodes": [[[PRIMITIVE, NODE], ...], '
                '...], "concat": [NODE, ...]}}}'
            ) from None

    @classmethod
    def load(cls, path: Path) -> "Genotype":
        """Reads a genotype file.

        Raises:
          UserError: if the file is missing, is not JSON or holds no genotype.
        """
        try:
            data = json.loads(read_regular(path))
        except OSError as error:
            raise UserError(
                f"{path}: cannot be read ({error.strerror or error})"
            ) from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: not JSON ({error})") from None
        if isinstance(data, dict) and "final" in data:  # a run's genotype.json
            data = data["final"]
        return cls.from_json(data, str(path))
