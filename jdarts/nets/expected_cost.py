"""What the networks of a space cost in expectation, given mixing weights.

    E[cost](mix) = fixed + sum over cells, edges e and primitives o
                   of mix[kind of the cell][e, o] * cost of o at that place

linear in the mixing weights, so that its derivative is the table of costs. Where an
edge's weights sum to 1 (a softmax) it is the mean cost of the network in which every
edge draws its primitive with its weight as probability: all edges into a node count,
also those that a derived cell does not keep. Other weights count as they are: where
they are shared by the edges into a node (PC-DARTS) it is the mean cost of a network
with one edge a node, of sigmoids (Fair DARTS) that of drawing each op on its own, of
0/1 weights (NASP) the cost of the ops in use. Cai, Zhu, Han, 'ProxylessNAS', ICLR 2019,
and Wu et al., 'FBNet', CVPR 2019, use it for latency.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np
from jaxtyping import Array

from jdarts.errors import UserError, unknown_choice
from jdarts.nets.cost import (
    Cost,
    NetworkShape,
    Part,
    connection_part,
    fixed_parts,
    module_part,
    placed_cells,
)
from jdarts.nets.heads import Head
from jdarts.nets.residual import ResidualBlock
from jdarts.nets.stems import STEMS, ConvBN
from jdarts.ops.norm import BatchNorm
from jdarts.spaces import Genotype, SearchSpace

__all__ = ["CostModel", "Place", "Skeleton", "cost_model", "counted", "skeleton"]


class Place(NamedTuple):
    """A primitive, and where it is.

    Attributes:
      primitive: a row of OPS, but `none`.
      stride: 1 or 2.
      height: of the map that it reads.
      width: of the same map.
      channels: of that map, and of its result.
    """

    primitive: str
    stride: int
    height: int
    width: int
    channels: int

    def part(self, batch: int = 1) -> Part:
        """The primitive as it is in a derived network."""
        source = (batch, self.height, self.width, self.channels)
        return connection_part(self.primitive, self.stride, source)


class _Cell(NamedTuple):
    """A cell of a network: sizes of what connections read, from an input or a node."""

    kind: str
    channels: int
    stride: int
    inputs: tuple[int, int]
    inner: tuple[int, int]


class Skeleton(NamedTuple):
    """A derived network without its connections.

    Attributes:
      space: the search space.
      cells: from the input on.
      fixed: all that every network of that shape has: stem, adapters, head.
    """

    space: SearchSpace
    cells: tuple[_Cell, ...]
    fixed: tuple[Part, ...]

    def places(self) -> Iterator[tuple[str, int, int, Place]]:
        """``(cell type, edge, column of the primitive, place)``, for each cell."""
        for cell in self.cells:
            spec = self.space.cells[cell.kind]
            for edge, (source, _) in enumerate(spec.edges):
                at_input = source < spec.inputs
                stride = cell.stride if at_input else 1
                size = cell.inputs if at_input else cell.inner
                for column, name in enumerate(spec.primitives):
                    if name != "none":
                        place = Place(name, stride, *size, cell.channels)
                        yield cell.kind, edge, column, place


class CostModel(NamedTuple):
    """What each choice costs.

    Attributes:
      space: the search space.
      fixed: of what every network has.
      edges: cell type to ``[edge, primitive]``, summed over the cells of the type.
    """

    space: SearchSpace
    fixed: float
    edges: dict[str, np.ndarray]

    def expected(self, mix: dict[str, Any]) -> Any:
        """``E[cost]`` for the mixing weights of all cell types; can be differentiated.

        In the type of `mix`: NumPy's float64 for records.
        """
        return self.fixed + sum((mix[k] * own).sum() for k, own in self.edges.items())

    def of(self, genotype: Genotype) -> float:
        """The cost of the network that a genotype of the space makes."""
        total = self.fixed
        for kind, own in self.edges.items():
            if kind not in genotype.cells and not own.any():
                continue  # the network has no such cell
            if kind not in genotype.cells:
                raise UserError(
                    f"genotype: has no {kind} cell, which the network whose cost it is "
                    f"has; found {', '.join(genotype.cells)}; expected a network of as "
                    "many layers as that of its search"
                )
            spec, cell = self.space.cells[kind], genotype.cells[kind]
            for i, node in enumerate(cell.nodes):
                for name, source in node:
                    row = spec.edges.index((source, spec.inputs + i))
                    total += own[row, spec.primitives.index(name)]
        return float(total)

    def uniform(self, start: dict[str, Any]) -> float:
        """``E[cost]`` where all primitives into a node have the same weight.

        Args:
          start: mixing weights; those of each node sum to what they sum to here.
        """
        total = self.fixed
        for kind, own in self.edges.items():
            mix, spec = np.asarray(start[kind], np.float64), self.space.cells[kind]
            offered = np.array(spec.offered)
            for rows in spec.node_slices:
                total += mix[rows].sum() * own[rows][offered[rows]].mean()
        return float(total)

    def scaled(self, factor: float) -> "CostModel":
        """In another unit."""
        edges = {kind: factor * own for kind, own in self.edges.items()}
        return CostModel(self.space, factor * self.fixed, edges)


def skeleton(space: SearchSpace, shape: NetworkShape) -> Skeleton:
    """The cells of the networks of that shape.

    Args:
      space: a space of images.
      shape: of the network.

    Raises:
      UserError: for a space of texts, or an unknown stem.
    """
    if space.task != "images":
        raise UserError(
            f"space '{space.name}': searched on {space.task}, but costs are counted on "
            "images; expected a space on images"
        )
    if space.skeleton == "residual":
        return _residual(space, shape)
    if shape.stem not in STEMS:
        raise unknown_choice("--stem", shape.stem, STEMS)
    placed = placed_cells(space, shape)
    cells = tuple(
        _Cell(
            plan.kind,
            plan.channels,
            plan.stride,
            inputs[1].shape[1:3],
            output.shape[1:3],
        )
        for plan, inputs, output in placed
    )
    return Skeleton(space, cells, tuple(fixed_parts(space, shape)))


def cost_model(
    frame: Skeleton, of_place: Callable[[Place], float], fixed: float
) -> CostModel:
    """A table of costs.

    Args:
      frame: the cells.
      of_place: the cost of a primitive at a place.
      fixed: the cost of `Skeleton.fixed`.
    """
    edges = {
        kind: np.zeros((len(spec.edges), len(spec.primitives)))
        for kind, spec in frame.space.cells.items()
    }
    for kind, edge, column, place in frame.places():
        edges[kind][edge, column] += of_place(place)
    return CostModel(frame.space, fixed, edges)


def counted(space: SearchSpace, shape: NetworkShape, measure: str) -> CostModel:
    """Costs that need no running.

    Args:
      space: a space of images.
      shape: of the network.
      measure: a field of `Cost`: parameters or multiply_adds.
    """
    frame = skeleton(space, shape)
    fixed = {part.same: getattr(part.cost(), measure) for part in frame.fixed}
    total = sum(fixed[part.same] for part in frame.fixed)
    return cost_model(frame, lambda p: float(getattr(_cost(p), measure)), float(total))


@functools.cache
def _cost(place: Place) -> Cost:
    return place.part().cost()


class _LastNorm(nn.Module):
    """Normaliser and ReLU between the last cell and the classifier."""

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        return nn.relu(BatchNorm(affine=True, name="bn")(x[None], train=train)[0])


def _residual(space: SearchSpace, shape: NetworkShape) -> Skeleton:
    """The skeleton of NAS-Bench-201; see `jdarts.nets.residual`."""
    channels, (height, width, colours) = shape.channels, shape.image
    blocks = {shape.layers * n // d for n, d in space.reductions}
    fixed = [module_part("stem", ConvBN(channels), (height, width, colours))]
    cells = []
    for i, kind in enumerate(space.layout(shape.layers)):
        if i in blocks:
            source = height, width, channels
            channels, height, width = 2 * channels, height // 2, width // 2
            fixed.append(module_part("block", ResidualBlock(channels), source))
        cells.append(_Cell(kind, channels, 1, (height, width), (height, width)))
    last = height, width, channels
    fixed.append(module_part("last normaliser", _LastNorm(), last))
    fixed.append(module_part("head", Head(shape.classes), last, takes_train=False))
    return Skeleton(space, tuple(cells), tuple(fixed))
