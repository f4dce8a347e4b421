"""The found cells, and how the architecture's parameters came to choose them."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from jdarts.io import cell_key, cell_svg, cell_width
from jdarts.reports import html
from jdarts.reports.run import Row, Seed
from jdarts.reports.svg import Line, heat_map, line_chart, short
from jdarts.spaces import CellGenotype, CellSpec, Genotype, SearchSpace

__all__ = ["drawings", "edge_names", "parameters", "stroke_styles"]

_MOST_COLUMNS = 120  # epochs in a heat map; of more some are left out
_PHONE = 480  # pixels; wider drawings scroll on a telephone, others are fitted in
_HUES = ("none", "skip", "pool", "sep", "dil", "conv")


def drawings(genotype: Genotype) -> Markup:
    """The cells as drawings of one scale, each with a table of its connections."""
    cells = genotype.cells
    width = max(cell_width(cell, f"{kind} cell") for kind, cell in cells.items())
    parts = [_drawing(kind, cell, width) for kind, cell in cells.items()]
    hint = html.paragraph(
        "The drawings are wider than the screen: scroll them sideways.", "hint"
    )
    return html.join(
        [
            html.key_of_lines(cell_key(cells.values())),
            hint if width > _PHONE else "",
            *parts,
        ]
    )


def _drawing(kind: str, cell: CellGenotype, width: float) -> Markup:
    title = f"{kind} cell"
    style = "drawing large" if width > _PHONE else "drawing"
    picture = html.scroll(f"{title}, drawing", cell_svg(cell, title, width), style)
    joined = {"concat": "concatenation", "mean": "mean"}[cell.output]
    names = [*cell.input_names]
    names += [f"node {i}" for i in range(len(cell.nodes))]
    rows = [
        (names[i], *(f"{c.primitive} of {names[c.source]}" for c in node))
        for i, node in enumerate(cell.nodes, start=cell.inputs)
    ]
    width = max(map(len, rows), default=1)
    return picture + html.details(
        f"The {title} as a table",
        html.table(
            f"{title.capitalize()}: what enters each node; its output is the "
            f"{joined} of {', '.join(names[i] for i in cell.concat)}",
            ["Node", *(f"Input {i}" for i in range(1, width))],
            [(*row, *[""] * (width - len(row))) for row in rows],
            words=width,
        ),
    )


def parameters(seed: Seed, space: SearchSpace) -> Markup:
    """Heat maps of the mixing weights and lines of the parameters, by cell type.

    Args:
      seed: it has rows of `arch`.
      space: what was searched.
    """
    cells = space.cells.items()
    built = [(kind, spec) for kind, spec in cells if kind in seed.arch[-1]["mix"]]
    return html.join(_cell_type(seed, kind, spec) for kind, spec in built)


def _cell_type(seed: Seed, kind: str, spec: CellSpec) -> Markup:
    """The parameters of one cell type."""
    rows, genotype = seed.arch, seed.genotype
    cells = {} if genotype is None else genotype.cells
    kept = _kept(cells[kind], spec) if kind in cells else {}
    return (
        html.heading(f"{kind.capitalize()} cell")
        + _heat_maps(rows, kind, spec, kept)
        + _lines(rows, kind, spec, kept)
        + _beta(rows, kind, spec)
        + html.details(
            f"Mixing weights of the {kind} cell after epoch {rows[-1]['epoch']} "
            "as a table",
            _weights_table(rows[-1], kind, spec),
        )
    )


def stroke_styles(primitives: Sequence[str]) -> dict[str, str]:
    """Classes of each primitive's line: a hue for its family, a dash inside it."""
    seen: dict[str, int] = {}
    styles = {}
    for name in primitives:
        hue = next((hue for hue in _HUES if hue in name), "other")
        dash = seen.get(hue, 0)
        seen[hue] = dash + 1
        styles[name] = f"h-{hue} d{dash % 3}"
    return styles


def _heat_maps(
    rows: list[Row], kind: str, spec: CellSpec, kept: dict[int, str]
) -> Markup:
    shown = _thin(rows)
    mix = np.array([row["mix"][kind] for row in shown])  # [epoch, edge, primitive]
    span = (float(mix.min()), float(mix.max()))
    panels = []
    for i, primitive in enumerate(spec.primitives):
        strongest = int(mix[-1, :, i].argmax())
        panels.append(
            html.figure(
                primitive,
                "",
                heat_map(
                    mix[:, :, i].T.tolist(),
                    title=f"{kind} cell: mixing weights of {primitive}",
                    description=f"One row an edge, one column an epoch. At the end "
                    f"{short(mix[-1, :, i].min())} to {short(mix[-1, :, i].max())}, "
                    f"most on edge {edge_names(spec)[strongest]}.",
                    row_names=edge_names(spec),
                    columns=(shown[0]["epoch"], shown[-1]["epoch"]),
                    span=span,
                    groups=[target for _, target in spec.edges],
                    marked=[edge for edge, name in kept.items() if name == primitive],
                ),
                style="small",
            )
        )
    scale = html.scale(short(span[0]), short(span[1]), "kept in the derived cell")
    return html.figure(
        "Mixing weights over the epochs.",
        "One panel a primitive, one row an edge "
        f"(source → node), from epoch {shown[0]['epoch']} (left) to "
        f"{shown[-1]['epoch']} (right)."
        + (f" {len(shown)} of {len(rows)} epochs." if len(shown) < len(rows) else ""),
        scale,
        html.grid(panels, "narrow"),
        style="wide",
    )


def _lines(rows: list[Row], kind: str, spec: CellSpec, kept: dict[int, str]) -> Markup:
    alpha = np.array([row["alpha"][kind] for row in rows])  # [epoch, edge, primitive]
    epochs = [row["epoch"] for row in rows]
    styles, names = stroke_styles(spec.primitives), edge_names(spec)
    span = (float(alpha.min()), float(alpha.max()))
    panels = []
    for edge, name in enumerate(names):
        lines = [
            Line(
                primitive,
                list(zip(epochs, alpha[:, edge, i].tolist(), strict=True)),
                styles[primitive] + (" kept" if kept.get(edge) == primitive else ""),
            )
            for i, primitive in enumerate(spec.primitives)
        ]
        lines.sort(key=lambda line: "kept" in line.style)  # on top of the others
        best = spec.primitives[int(alpha[-1, edge].argmax())]
        panels.append(
            html.figure(
                name,
                kept.get(edge, ""),
                line_chart(
                    lines,
                    title=f"{kind} cell, edge {name}: alpha of each primitive",
                    description=f"From epoch {epochs[0]} to {epochs[-1]}. Largest at "
                    f"the end: {best}, {short(float(alpha[-1, edge].max()))}.",
                    x_label="epoch",
                    y_label="",
                    y_range=span,
                    size=(172, 120),
                ),
                style="small" + ("" if edge in kept else " quiet"),
            )
        )
    return html.figure(
        "Alpha over the epochs.",
        "One panel an edge (source → node); where the derived cell keeps the edge, its "
        "primitive is named and its line is thick; panels of other edges are pale.",
        html.legend(
            [
                *((name, "", styles[name]) for name in spec.primitives),
                ("kept in the derived cell", "", "base kept"),
            ]
        ),
        html.grid(panels, "narrow"),
        style="wide",
    )


def _beta(rows: list[Row], kind: str, spec: CellSpec) -> Markup:
    """The edge logits, for the methods that have them."""
    rows = [row for row in rows if kind in row["beta"]]
    if not rows:
        return Markup("")
    beta = np.array([row["beta"][kind] for row in rows])  # [epoch, edge]
    epochs, names = [row["epoch"] for row in rows], edge_names(spec)
    panels = []
    for node, edges in enumerate(spec.node_slices):
        lines = [
            Line(
                names[edge],
                list(zip(epochs, beta[:, edge].tolist(), strict=True)),
                f"s{i % 6} d{i // 6}",
            )
            for i, edge in enumerate(range(edges.start, edges.stop))
        ]
        panels.append(
            html.figure(
                f"Into node {node}",
                "",
                line_chart(
                    lines,
                    title=f"{kind} cell: beta of the edges into node {node}",
                    description=f"From epoch {epochs[0]} to {epochs[-1]}.",
                    x_label="epoch",
                    y_label="beta",
                    y_range=(float(beta.min()), float(beta.max())),
                ),
                html.legend(
                    (line.name, short(line.points[-1][1]), line.style) for line in lines
                ),
            )
        )
    return html.figure("Beta over the epochs.", "The edges' logits.", html.grid(panels))


def _weights_table(row: Row, kind: str, spec: CellSpec) -> Markup:
    weights = row["mix"][kind]
    return html.table(
        f"Mixing weights, epoch {row['epoch']}",
        ["Edge", *spec.primitives],
        [
            (name, *(f"{value:.4f}" for value in values))
            for name, values in zip(edge_names(spec), weights, strict=True)
        ],
    )


def _kept(cell: CellGenotype, spec: CellSpec) -> dict[int, str]:
    """Edge to primitive of what the cell keeps of the space's edges."""
    numbers = {edge: i for i, edge in enumerate(spec.edges)}
    return {
        numbers[connection.source, target]: connection.primitive
        for target, node in enumerate(cell.nodes, start=spec.inputs)
        for connection in node
        if (connection.source, target) in numbers
    }


def edge_names(spec: CellSpec) -> list[str]:
    """``k−2→0``: short names of the edges, in the order of alpha's rows."""
    names = [f"k−{spec.inputs - i}" for i in range(spec.inputs)]
    if spec.merge == "mean":
        names = ["s"]
    names += [str(i) for i in range(spec.nodes)]
    return [f"{names[source]}→{names[target]}" for source, target in spec.edges]


def _thin(rows: list[Row]) -> list[Row]:
    """At most `_MOST_COLUMNS` of the rows, evenly, with the first and the last."""
    if len(rows) <= _MOST_COLUMNS:
        return rows
    return [
        rows[i]
        for i in np.linspace(0, len(rows) - 1, _MOST_COLUMNS).round().astype(int)
    ]
