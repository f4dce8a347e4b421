"""Where the parts of a cell's drawing go: layers from left to right, nothing overlaps.

Nodes stand in columns by their depth. Between two node columns lies a column of labels.
A connection owns one slot in each column it crosses, its label being one of them, and
is curved only between columns; so no line, label or node ever covers another.
"""

import dataclasses
import itertools
from collections.abc import Sequence

from jdarts.spaces import CellGenotype

__all__ = ["Edge", "Layout", "Slot", "lay_out"]

CHARACTER = 7.9  # width of a monospace character at the labels' 13 px
_GAP = 44.0  # between two columns, where the lines are curved
_NODE_WIDTH, _NODE_HEIGHT, _PORT = 58.0, 36.0, 17.0
_LABEL_UP, _LABEL_DOWN, _LINE_HALF = 20.0, 7.0, 9.0
_SPACE = 12.0  # between two slots of a column
_SWEEPS = 24
_STRAIGHT = 4.0  # how much more a passing line is drawn to its own next piece


@dataclasses.dataclass(eq=False)
class Slot:
    """A place in a column: a node, a label, or a line that passes.

    Attributes:
      column: even for nodes, odd for labels.
      up, down: the room it needs above and below its height `y`.
      text: the name of a node or primitive; empty for a passing line.
      x, y, width: its left end, the height of its line (a label stands on it) or of a
        node's middle, its width; 0 for a column that the drawing leaves out.
      before, after: its neighbours.
    """

    column: int
    up: float
    down: float
    text: str = ""
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    before: list["Slot"] = dataclasses.field(default_factory=list, repr=False)
    after: list["Slot"] = dataclasses.field(default_factory=list, repr=False)


@dataclasses.dataclass(eq=False)
class Edge:
    """A connection: the slots that it runs through, from node to node.

    Attributes:
      slots: the source node, what lies between, the target node.
      primitive: its operation; empty for one that leads to the output.
      start, end: the heights at which it leaves and arrives.
    """

    slots: list[Slot]
    primitive: str
    start: float = 0.0
    end: float = 0.0


@dataclasses.dataclass(frozen=True)
class Layout:
    """A drawing's geometry; `nodes` are the inputs, the intermediate nodes, the output.
    Heights begin at 0 and may be offset as one likes."""

    nodes: list[Slot]
    edges: list[Edge]
    width: float
    height: float


def lay_out(cell: CellGenotype) -> Layout:
    """Places a derived cell.

    Args:
      cell: connections come from earlier nodes only.
    """
    depths = _depths(cell)
    names = [*cell.input_names, *map(str, range(len(cell.nodes))), cell.output_name]
    nodes = [
        Slot(2 * depth, _NODE_HEIGHT / 2, _NODE_HEIGHT / 2, name)
        for depth, name in zip(depths, names, strict=True)
    ]
    edges = [
        _route(nodes[connection.source], nodes[cell.inputs + i], connection.primitive)
        for i, node in enumerate(cell.nodes)
        for connection in node
    ]
    edges += [_route(nodes[i], nodes[-1], "") for i in cell.concat]
    columns = _columns(nodes, edges)
    _order(columns)
    for slot in nodes:
        ports = max(len(slot.before), len(slot.after))
        slot.up = slot.down = max(_NODE_HEIGHT, _PORT * (ports + 0.5)) / 2
    _place_vertically(columns)
    width = _place_horizontally(columns)
    _place_ports(nodes, edges)
    slots = list(itertools.chain(*columns))
    top = min(slot.y - slot.up for slot in slots)
    for slot in slots:
        slot.y -= top
    for edge in edges:
        edge.start, edge.end = edge.start - top, edge.end - top
    return Layout(nodes, edges, width, max(s.y + s.down for s in slots))


def _depths(cell: CellGenotype) -> list[int]:
    """The longest way from an input to each node; the output comes last."""
    depths = [0] * cell.inputs
    for node in cell.nodes:
        depths.append(1 + max((depths[edge.source] for edge in node), default=0))
    return [*depths, max(depths) + 1]


def _route(source: Slot, target: Slot, primitive: str) -> Edge:
    """Gives a connection a slot in each column between its ends; the label stands in
    the last one, before the target."""
    last = target.column - 1
    between = [
        Slot(column, _LABEL_UP, _LABEL_DOWN, primitive)
        if column == last and primitive
        else Slot(column, _LINE_HALF, _LINE_HALF)
        for column in range(source.column + 1, target.column)
    ]
    slots = [source, *between, target]
    for left, right in itertools.pairwise(slots):
        left.after.append(right)
        right.before.append(left)
    return Edge(slots, primitive)


def _columns(nodes: Sequence[Slot], edges: Sequence[Edge]) -> list[list[Slot]]:
    slots = dict.fromkeys(itertools.chain(nodes, *(edge.slots for edge in edges)))
    last = max(slot.column for slot in slots)
    return [[slot for slot in slots if slot.column == i] for i in range(last + 1)]


def _order(columns: list[list[Slot]]) -> None:
    """Sorts each column so that few lines cross: by the mean position of a slot's
    neighbours, to and fro; the best order met is kept."""
    best, fewest = [list(column) for column in columns], _crossings(columns)
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        for column in columns if forward else reversed(columns):
            place = _positions(columns)
            column.sort(key=lambda s: _mean(s, s.before if forward else s.after, place))
        crossings = _crossings(columns)
        if crossings < fewest:
            best, fewest = [list(column) for column in columns], crossings
    for column, order in zip(columns, best, strict=True):
        column[:] = order


def _positions(columns: list[list[Slot]]) -> dict[Slot, float]:
    return {
        slot: (i + 0.5) / len(column)
        for column in columns
        for i, slot in enumerate(column)
    }


def _mean(slot: Slot, neighbours: list[Slot], place: dict[Slot, float]) -> float:
    if not neighbours:
        return place[slot]
    weights = [1.0 if slot.text or other.text else _STRAIGHT for other in neighbours]
    total = sum(w * place[s] for w, s in zip(weights, neighbours, strict=True))
    return total / sum(weights)


def _crossings(columns: list[list[Slot]]) -> int:
    place = _positions(columns)
    count = 0
    for column in columns:
        lines = [(place[a], place[b]) for a in column for b in a.after]
        for (a, b), (c, d) in itertools.combinations(lines, 2):
            count += (a - c) * (b - d) < 0
    return count


def _place_vertically(columns: list[list[Slot]]) -> None:
    """Draws each slot to the height of its neighbours, keeping order and distances."""
    for column in columns:
        _spread(column, [0.0] * len(column))
    for sweep in range(2 * _SWEEPS):
        for column in columns if sweep % 2 else reversed(columns):
            place = {
                s: s.y for slot in column for s in (slot, *slot.before, *slot.after)
            }
            wanted = [_mean(s, [*s.before, *s.after], place) for s in column]
            _spread(column, wanted)


def _spread(column: list[Slot], wanted: list[float]) -> None:
    """The heights nearest to `wanted` (least squares) that keep the distances: less the
    slots' own heights, a monotone regression by pooling adjacent violators."""
    if not column:  # of labels, where no node has a connection
        return
    offsets = [0.0]
    for above, below in itertools.pairwise(column):
        offsets.append(offsets[-1] + above.down + below.up + _SPACE)
    pools: list[tuple[float, int]] = []  # sum, count
    for want, offset in zip(wanted, offsets, strict=True):
        pools.append((want - offset, 1))
        while len(pools) > 1 and _above(pools[-2], pools[-1]):
            total, count = pools.pop()
            pools[-1] = (pools[-1][0] + total, pools[-1][1] + count)
    levels = [total / count for total, count in pools for _ in range(count)]
    for slot, level, offset in zip(column, levels, offsets, strict=True):
        slot.y = level + offset


def _above(first: tuple[float, int], second: tuple[float, int]) -> bool:
    return first[0] / first[1] > second[0] / second[1]


def _place_horizontally(columns: list[list[Slot]]) -> float:
    """Sets the columns side by side; a label column without labels takes no room."""
    x = 0.0
    for i, column in enumerate(columns):
        labels = [CHARACTER * len(slot.text) + 12 for slot in column if slot.text]
        width = _NODE_WIDTH if i % 2 == 0 else max(labels, default=0.0)
        for slot in column:
            slot.x, slot.width = x, width
        if width:
            x += width + _GAP
    return x - _GAP


def _place_ports(nodes: list[Slot], edges: list[Edge]) -> None:
    """Spreads the lines that leave or enter a node along its side."""
    for node in nodes:
        leaving = [edge for edge in edges if edge.slots[0] is node]
        entering = [edge for edge in edges if edge.slots[-1] is node]
        leaving.sort(key=lambda edge: edge.slots[1].y)
        entering.sort(key=lambda edge: edge.slots[-2].y)
        for i, edge in enumerate(leaving):
            edge.start = node.y + _PORT * (i - (len(leaving) - 1) / 2)
        for i, edge in enumerate(entering):
            edge.end = node.y + _PORT * (i - (len(entering) - 1) / 2)
