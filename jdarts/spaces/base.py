"""What a search space is: plain frozen data."""

import dataclasses
from typing import Literal

from jdarts.errors import UserError, unknown_choice

__all__ = ["CellSpec", "SearchSpace"]


@dataclasses.dataclass(frozen=True)
class CellSpec:
    """One searched cell type: a directed acyclic graph whose edges are all searched.

    Nodes ``0 .. inputs - 1`` are the outputs of earlier cells. Intermediate node ``i``
    has one edge from every earlier node; edges are numbered node by node and, inside a
    node, by their source: the row order of `alpha`.

    Attributes:
      primitives: the names of an edge's candidate operations (rows of the OPS table),
        in the column order of `alpha`.
      nodes: number of intermediate nodes, >= 1.
      inputs: number of input nodes.
      keep: connections kept at each node when a genotype is derived; None: every edge
        keeps its strongest primitive, which may be `none`.
      max_skips: most skip connections of a derived cell; None: any number.
      stride: of the edges that leave an input node: 2 in a reduction cell.
      output: the cell's output: all intermediate nodes, concatenated or their mean, or
        the last one.
      normalise_pools: whether a normaliser follows pools in the search network.
      bias: whether dense convolutions have a bias in the search network.
      edge_primitives: of each edge the primitives that it has, some of `primitives`,
        in their order; the search network computes no others. None: all of them.
    """

    primitives: tuple[str, ...]
    nodes: int
    inputs: int = 2
    keep: int | None = 2
    stride: Literal[1, 2] = 1
    output: Literal["concat", "mean", "last"] = "concat"
    normalise_pools: bool = True
    bias: bool = False
    max_skips: int | None = None
    edge_primitives: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        """Raises a UserError for an edge that would be left without an op."""
        rows = self.edge_primitives
        if rows is not None and len(rows) != len(self.edges):
            raise UserError(
                f"edge_primitives: of {len(rows)} edges; expected {len(self.edges)}"
            )
        for edge, own in enumerate([self.primitives] if rows is None else rows):
            where = "primitives" if rows is None else f"edge_primitives[{edge}]"
            for name in own:
                if name not in self.primitives:
                    raise unknown_choice(where, name, self.primitives)
            if not own or (self.keep is not None and set(own) == {"none"}):
                raise UserError(
                    f"{where}: {', '.join(own) or 'empty'}; expected at least one "
                    "operation other than none on every edge that can be kept"
                )

    @property
    def offered(self) -> tuple[tuple[bool, ...], ...]:
        """Whether an edge has a primitive, ``[edges, primitives]``."""
        rows = self.edge_primitives or (self.primitives,) * len(self.edges)
        return tuple(tuple(n in row for n in self.primitives) for row in rows)

    def choices(self, edge: int) -> list[int]:
        """The columns of what a genotype can have on an edge: what it has in the space,
        and `none` only where every edge is kept."""
        offered = enumerate(zip(self.primitives, self.offered[edge], strict=True))
        kept = self.keep is None
        return [i for i, (n, has) in offered if has and (kept or n != "none")]

    @property
    def op_columns(self) -> list[int]:
        """The columns of the primitives other than `none`."""
        return [i for i, name in enumerate(self.primitives) if name != "none"]

    @property
    def merge(self) -> Literal["concat", "mean"]:
        """How the nodes of `concat` become one value."""
        return "mean" if self.output == "mean" else "concat"

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """``(source, target)`` of every edge, in the row order of `alpha`."""
        return tuple(
            (source, target)
            for target in range(self.inputs, self.inputs + self.nodes)
            for source in range(target)
        )

    @property
    def node_slices(self) -> tuple[slice, ...]:
        """For each intermediate node the slice of `edges` that enters it."""
        slices, start = [], 0
        for target in range(self.inputs, self.inputs + self.nodes):
            slices.append(slice(start, start + target))
            start += target
        return tuple(slices)

    @property
    def intermediate(self) -> tuple[int, ...]:
        """The numbers of the intermediate nodes."""
        return tuple(range(self.inputs, self.inputs + self.nodes))

    @property
    def concat(self) -> tuple[int, ...]:
        """The nodes that make the cell's output."""
        return self.intermediate[-1:] if self.output == "last" else self.intermediate


@dataclasses.dataclass(frozen=True)
class SearchSpace:
    """Cell types and how a network is made of them.

    Attributes:
      name: its row in the SPACES table.
      task: what its networks are for: a row of the CONFIGS table.
      cells: cell type to its specification. `alpha` and `beta` have the same keys.
      stem_multiplier: stem width / initial channels.
      skeleton: how cells make a network: each reads the two cells before it (with
        adapters, and cells of type ``"reduce"`` that halve), or as in NAS-Bench-201 the
        one before it, with residual blocks that halve between three stages.
      reductions: at which fractions ``(numerator, denominator)`` of the depth the cells
        of type ``"reduce"`` stand: cell ``layers * numerator // denominator``; in the
        other skeleton a residual block comes before that cell.
      reference: where it comes from.
    """

    name: str
    cells: dict[str, CellSpec]
    task: str = "images"
    stem_multiplier: int = 3
    skeleton: Literal["two inputs", "residual"] = "two inputs"
    reductions: tuple[tuple[int, int], ...] = ((1, 3), (2, 3))
    reference: str = ""

    def kinds(self, layers: int) -> tuple[str, ...]:
        """The cell types that a network of that many layers has, in their order: with
        few layers every cell may be a reduction."""
        built = self.layout(layers)
        return tuple(kind for kind in self.cells if kind in built)

    def layout(self, layers: int) -> tuple[str, ...]:
        """The cell type of each of `layers` cells, from the input on."""
        if self.skeleton == "residual":
            return ("normal",) * layers
        reduced = {layers * n // d for n, d in self.reductions}
        return tuple("reduce" if i in reduced else "normal" for i in range(layers))
