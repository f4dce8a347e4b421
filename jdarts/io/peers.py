"""From the names and fields of other programs to a genotype."""

import re
from collections.abc import Iterable
from typing import Any

from jdarts.errors import UserError, unknown_choice
from jdarts.spaces import MAX_NODES, SPACES, ZOO, CellGenotype, Connection, Genotype

__all__ = [
    "EXPECTED",
    "FIELDS",
    "PEERS",
    "RECURRENT",
    "from_bench",
    "from_fields",
    "is_field",
    "own_primitive",
]

FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
"""The fields of DARTS' genotype, in their order."""
RECURRENT = ("recurrent", "concat")
"""Those of a recurrent one."""

EXPECTED = (
    "expected Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=range(2, 6), "
    "reduce=..., reduce_concat=...), Genotype(recurrent=..., concat=...), "
    "|op~0|+|op~0|op~1|+..., or a dictionary of NNI or NAS-Bench-301"
)
"""The forms that are read, for errors."""

PEERS = {
    # NASP's code.
    "conv 1x1": "conv_1x1",
    "conv 3x3": "conv_3x3",
    "sep_3x3": "sep_conv_3x3",
    "sep_5x5": "sep_conv_5x5",
    "sep_7x7": "sep_conv_7x7",
    # AutoDL-Projects: NAS-Bench-201 and its DARTS space.
    "nor_conv_1x1": "conv_1x1",
    "nor_conv_3x3": "conv_3x3",
    "dua_sepc_3x3": "sep_conv_3x3",
    "dua_sepc_5x5": "sep_conv_5x5",
    "dil_sepc_3x3": "dil_conv_3x3",
    "dil_sepc_5x5": "dil_conv_5x5",
    # NNI's example of DARTS.
    "maxpool": "max_pool_3x3",
    "avgpool": "avg_pool_3x3",
    "skipconnect": "skip_connect",
    "sepconv3x3": "sep_conv_3x3",
    "sepconv5x5": "sep_conv_5x5",
    "dilconv3x3": "dil_conv_3x3",
    "dilconv5x5": "dil_conv_5x5",
}
"""Names of peers' primitives that mean the same as one of ours."""


def from_fields(data: dict[str, Any], source: str) -> Genotype:
    """The genotype of a dictionary, of any form that is read.

    Raises:
      UserError: if it is of none of them, or malformed.
    """
    form = next((form for key in data if (form := _form(key))), None)
    if form is None:
        raise UserError(f"{source}: fields of no known form; {EXPECTED}")
    try:
        return _of_cells(form(data, source), source)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        kind = type(error).__name__
        raise UserError(
            f"{source}: not a genotype ({kind}: {str(error)[:80]}); {EXPECTED}"
        ) from None


def from_bench(text: str, source: str) -> Genotype:
    """The genotype of a cell of NAS-Bench-201; its `none` is no connection.

    Raises:
      UserError: if it is malformed.
    """
    nodes = []
    for part in text.split("+"):
        edges = [edge.rsplit("~", 1) for edge in part.strip().strip("|").split("|")]
        node = [_connection((name.strip(), int(n)), source) for name, n in edges]
        nodes.append(tuple(edge for edge in node if edge.primitive != "none"))
    cell = CellGenotype(tuple(nodes), (len(nodes),), inputs=1)
    return _of_cells({"normal": cell}, source)


def is_field(key: str) -> bool:
    """Whether a dictionary with that key is a genotype of a form that is read."""
    return _form(key) is not None


def _darts(data: dict[str, Any], source: str) -> dict[str, CellGenotype]:
    if "recurrent" in data:
        nodes = [[edge] for edge in data["recurrent"]]
        return {"recurrent": _cell(nodes, data.get("concat"), source, 1)}
    cells = {}
    for kind in ("normal", "reduce"):
        edges = data.get(kind)
        if not isinstance(edges, list):
            found = "nothing" if edges is None else type(edges).__name__
            raise UserError(
                f"{source}: {kind}: {found}; expected a list of edges, as "
                "[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ...]"
            )
        concat, where = data.get(f"{kind}_concat"), f"{source}: {kind}"
        cells[kind] = _cell(_nodes(edges, concat, where), concat, where)
    return cells


def _nodes(edges: list[Any], concat: Any, where: str) -> list[list[Any]]:
    """The edges into each node, of any of the forms of a list."""
    if edges and not isinstance(edges[0][0], str):
        return edges  # a list for each node
    if edges and all(len(edge) == 3 and type(edge[2]) is int for edge in edges):
        last = max([node for _, node, _ in edges] + (concat or []))
        if last > MAX_NODES:
            raise UserError(f"{where}: node {last}; expected at most {MAX_NODES}")
        return [
            [(name, source) for name, node, source in edges if node == number]
            for number in range(2, last + 1)
        ]
    if len(edges) % 2:
        raise UserError(
            f"{where}: {len(edges)} edges; expected two for each node, or a list of "
            "edges for each node"
        )
    return [edges[i : i + 2] for i in range(0, len(edges), 2)]


def _cell(
    nodes: Iterable[Iterable[Any]], concat: Any, where: str, inputs: int = 2
) -> CellGenotype:
    built = tuple(
        tuple(_connection(edge, where, inputs == 1) for edge in node) for node in nodes
    )
    if concat is None:
        concat = range(inputs, inputs + len(built))
    for node in concat:
        if type(node) is not int:
            raise UserError(f"{where}: concat: {node!r}; expected numbers of nodes")
    output = "mean" if inputs == 1 else "concat"
    return CellGenotype(built, tuple(concat), inputs, output)


def _connection(edge: Any, where: str, recurrent: bool = False) -> Connection:
    name, source, *_ = (None, None) if isinstance(edge, str) else edge
    if type(source) is not int:
        raise UserError(
            f"{where}: {str(edge)[:60]!r}; expected ('sep_conv_3x3', 0): a primitive "
            "and the number of the node that it reads"
        )
    return Connection(own_primitive(str(name), where, recurrent), source)


def own_primitive(name: str, where: str, recurrent: bool = False) -> str:
    """Our name of a primitive, from ours or a peer's.

    Raises:
      UserError: if there is none that means the same; it names the nearest.
    """
    own = _own(recurrent)
    found = name if recurrent else PEERS.get(name, name)
    if found not in own:
        raise unknown_choice(f"{where}: primitive", name, own)
    return found


def _own(recurrent: bool) -> set[str]:
    task = "text" if recurrent else "images"
    cells = [c for s in SPACES.values() if s.task == task for c in s.cells.values()]
    names = {name for cell in cells for name in cell.primitives}
    published = [c for g in ZOO.values() if g.task == task for c in g.cells.values()]
    return names | {edge.primitive for cell in published for edge in cell.connections}


def _nni(data: dict[str, Any], source: str) -> dict[str, CellGenotype]:
    """NNI's space hub: ``normal/op_2_0`` with ``normal/input_2_0``."""
    nodes: dict[str, dict[int, list[Any]]] = {"normal": {}, "reduce": {}}
    for key, name in sorted(data.items()):
        if match := _KEYS[_nni].fullmatch(key):
            node = data[f"{match[1]}/input_{match[2]}_{match[3]}"]
            node = node[0] if isinstance(node, list) and len(node) == 1 else node
            nodes[match[1]].setdefault(int(match[2]), []).append((name, node))
    return _all_concatenated(nodes, source)


def _nni_mutables(data: dict[str, Any], source: str) -> dict[str, CellGenotype]:
    """NNI before its hub: ``normal_n2_p0`` with ``normal_n2_switch``."""
    nodes: dict[str, dict[int, list[Any]]] = {"normal": {}, "reduce": {}}
    for key, name in sorted(data.items()):
        if match := _KEYS[_nni_mutables].fullmatch(key):
            chosen = data[f"{match[1]}_n{match[2]}_switch"]
            if key in chosen or int(match[3]) in chosen:
                edge = (name, int(match[3]))
                nodes[match[1]].setdefault(int(match[2]), []).append(edge)
    return _all_concatenated(nodes, source)


def _surrogate(data: dict[str, Any], source: str) -> dict[str, CellGenotype]:
    """NAS-Bench-301: primitives by edge, and the two inputs of each node."""
    short = {re.split(r":|_COLON_", key)[-1]: value for key, value in data.items()}
    nodes: dict[str, dict[int, list[Any]]] = {"normal": {}, "reduce": {}}
    for kind, own in nodes.items():
        first = 0
        for node in range(2, 6):
            pair = short.get(f"inputs_node_{kind}_{node}", "0_1").split("_")
            own[node] = [
                (short[f"edge_{kind}_{first + int(source)}"], int(source))
                for source in pair
            ]
            first += node
    return _all_concatenated(nodes, source)


def _all_concatenated(
    nodes: dict[str, dict[int, list[Any]]], source: str
) -> dict[str, CellGenotype]:
    """Cells of which all nodes are concatenated, as DARTS' are."""
    cells = {}
    for kind, own in nodes.items():
        if sorted(own) != list(range(2, 2 + len(own))) or not own:
            found = ", ".join(map(str, sorted(own))) or "none"
            raise UserError(f"{source}: {kind} nodes {found}; expected 2, 3, ...")
        rows = [own[node] for node in sorted(own)]
        cells[kind] = _cell(rows, None, f"{source}: {kind}")
        names = {edge.primitive for edge in cells[kind].connections}
        other = names - set(SPACES["darts_cnn"].cells["normal"].primitives)
        if other:
            raise UserError(
                f"{source}: {kind}: {', '.join(sorted(other))} is not of DARTS' space, "
                "so that the form does not say which nodes are concatenated; expected "
                "Genotype(normal=..., normal_concat=..., ...)"
            )
    return cells


_KEYS: dict[Any, re.Pattern[str]] = {
    _darts: re.compile(r"normal|reduce|recurrent"),
    _nni: re.compile(r"(normal|reduce)/op_(\d{1,3})_(\d{1,3})"),
    _nni_mutables: re.compile(r"(normal|reduce)_n(\d{1,3})_p(\d{1,3})"),
    _surrogate: re.compile(r"(?:.*(?::|_COLON_))?edge_(?:normal|reduce)_\d{1,3}"),
}
"""What reads a dictionary, by its keys."""


def _form(key: str) -> Any:
    """What reads a dictionary with that key; None: nothing by this key."""
    return next((form for form, keys in _KEYS.items() if keys.fullmatch(key)), None)


def _of_cells(cells: dict[str, CellGenotype], source: str) -> Genotype:
    """The genotype, in the first space that it fits."""
    for kind, cell in cells.items():
        try:
            cell.check()
        except ValueError as error:
            raise UserError(f"{source}: {kind} cell: {error}") from None
    return Genotype(_space_of(cells), cells)


def _space_of(cells: dict[str, CellGenotype]) -> str:
    for name, space in SPACES.items():
        if space.cells.keys() == cells.keys() and all(
            (spec.nodes, spec.inputs, spec.merge)
            == (len(cell.nodes), cell.inputs, cell.output)
            and {e.primitive for e in cell.connections} <= set(spec.primitives)
            for spec, cell in ((space.cells[kind], c) for kind, c in cells.items())
        ):
            return name
    return "other"
