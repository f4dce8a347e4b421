"""A derived cell in the language of Graphviz."""

import json

from jdarts.spaces import CellGenotype

__all__ = ["cell_dot"]


def cell_dot(cell: CellGenotype, title: str) -> str:
    """The cell as a directed graph: ``dot -Tpdf cell_normal.dot``.

    Args:
      cell: the cell.
      title: its label.
    """
    names = [*cell.input_names]
    names += [str(i) for i in range(len(cell.nodes))]
    lines = [
        f"  {_quoted(names[c.source])} -> {_quoted(names[target])} "
        f"[label={_quoted(c.primitive)}];"
        for target, node in enumerate(cell.nodes, start=cell.inputs)
        for c in node
    ]
    lines += [
        f"  {_quoted(names[node])} -> {_quoted(cell.output_name)};"
        for node in cell.concat
    ]
    head = [
        f"digraph {_quoted(title)} {{",
        f"  label={_quoted(title)}; labelloc=t; rankdir=LR;",
        "  node [shape=box, style=rounded];",
        *(f"  {_quoted(name)};" for name in names),
    ]
    return "\n".join([*head, *lines, "}", ""])


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
