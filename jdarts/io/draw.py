"""A derived cell as a picture and as text."""

from xml.sax.saxutils import escape

from jdarts.io.layout import CHARACTER, Edge, Layout, Slot, lay_out
from jdarts.spaces import CellGenotype

__all__ = ["cell_svg", "cell_text"]

_MARGIN, _TITLE = 16.0, 30.0
_LARGE, _SMALL = CHARACTER, 6.4  # width of a character in a node, and of an index
# Text takes the page's own colour. `svg:root` matches a file of its own only, so inside
# a page the page decides.
_STYLE = """
svg:root{color:#1f2328;background:#fff}
@media (prefers-color-scheme:dark){svg:root{color:#e6edf3;background:#0d1117}}
.jdarts-cell text{font:13px ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;\
fill:currentColor}
.jdarts-cell .sub{font-size:10px}
.jdarts-cell .title{font:600 15px system-ui,"DejaVu Sans",sans-serif}
.jdarts-cell .node{fill:currentColor;fill-opacity:.07;stroke:currentColor;\
stroke-width:1.5}
.jdarts-cell path{fill:none;stroke-width:2}
"""
# Middle tones: a contrast of 3:1, as graphics need, on white and on black alike.
_COLORS = {
    "conv": "#3d7edb",
    "pool": "#c9660a",
    "skip": "#1f9254",
    "tanh": "#3d7edb",
    "relu": "#c9660a",
    "sigmoid": "#8b6fc9",
    "identity": "#1f9254",
    "other": "#8b6fc9",
    "output": "#7f8790",
}


def cell_svg(cell: CellGenotype, title: str) -> str:
    """Draws a derived cell from left to right, as a self-contained SVG.

    Args:
      cell: the cell.
      title: shown above it.

    Returns:
      The text of the file; it may also stand inside an HTML page, whose text colour it
      then takes.
    """
    layout = lay_out(cell)
    title_width = 9.5 * len(title)
    width = max(layout.width, title_width) + 2 * _MARGIN
    top = _MARGIN + (_TITLE if title else 0)
    height = layout.height + top + _MARGIN
    left = (width - layout.width) / 2
    name = escape(title, {'"': "&quot;"})
    head = f'<text class="title" x="{_MARGIN:g}" y="28">{escape(title)}</text>'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="jdarts-cell" role="img" '
            f'aria-label="{name}" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(cell_text(cell))}</desc>",
            f"<style>{_STYLE}</style>",
            head if title else "",
            f'<g transform="translate({left:.1f} {top:.1f})">',
            *_parts(layout),
            "</g>",
            "</svg>",
            "",
        ]
    )


def cell_text(cell: CellGenotype) -> str:
    """A derived cell as aligned lines, one a node, for the terminal."""
    names = [*cell.input_names]
    names += [f"node {i}" for i in range(len(cell.nodes))]
    terms = [
        [f"{edge.primitive}({names[edge.source]})" for edge in node]
        for node in cell.nodes
    ]
    columns = max(map(len, terms), default=0)
    widths = [
        max((len(row[i]) for row in terms if i < len(row)), default=0)
        for i in range(columns)
    ]
    lines = [
        f"{name:<6} = "
        + " + ".join(t.ljust(w) for t, w in zip(row, widths, strict=False))
        for name, row in zip(names[cell.inputs :], terms, strict=True)
    ]
    joined = ", ".join(names[i] for i in cell.concat)
    lines.append(f"{cell.output_name:<6} = {cell.output}({joined})")
    return "\n".join(line.rstrip() for line in lines)


def _parts(layout: Layout) -> list[str]:
    lines = [part for edge in layout.edges for part in _edge(edge)]
    return lines + [_node(slot) for slot in layout.nodes]


def _node(slot: Slot) -> str:
    name, _, below = slot.text.partition("_")
    below = below.strip("{}")
    x, y = slot.x + (slot.width - _LARGE * len(name) - _SMALL * len(below)) / 2, slot.y
    small = f'<text class="sub" x="{x + _LARGE:.1f}" y="{y + 8:.1f}">{below}</text>'
    return (
        f'<rect class="node" x="{slot.x:.1f}" y="{y - slot.up:.1f}" '
        f'width="{slot.width:.1f}" height="{slot.up + slot.down:.1f}" rx="9"/>'
        f'<text x="{x:.1f}" y="{y + 4.5:.1f}">{name}</text>{small if below else ""}'
    )


def _edge(edge: Edge) -> list[str]:
    color = _COLORS[_family(edge.primitive)]
    dashed = _family(edge.primitive) in ("skip", "identity")
    dash = ' stroke-dasharray="6 4"' if dashed else ""
    end = edge.slots[-1].x
    parts = [
        f'<path d="{_curve(edge)}" stroke="{color}"{dash}/>',
        f'<polygon points="{end - 9:.1f},{edge.end - 4.5:.1f} {end - 1:.1f},'
        f'{edge.end:.1f} {end - 9:.1f},{edge.end + 4.5:.1f}" fill="{color}"/>',
    ]
    if edge.primitive:
        parts.append(_label(edge))
    return parts


def _label(edge: Edge) -> str:
    slot = edge.slots[-2]
    return (
        f'<text class="label" x="{slot.x + slot.width / 2:.1f}" y="{slot.y - 6:.1f}" '
        f'text-anchor="middle">{escape(slot.text)}</text>'
    )


def _curve(edge: Edge) -> str:
    """Level inside the columns, an S between them."""
    x, y = edge.slots[0].x + edge.slots[0].width, edge.start
    path = f"M{x:.1f} {y:.1f}"
    for slot in edge.slots[1:-1]:
        if slot.width:
            path += _bend(x, y, slot.x, slot.y)
            x, y = slot.x + slot.width, slot.y
            path += f"H{x:.1f}"
    return path + _bend(x, y, edge.slots[-1].x - 8, edge.end)


def _bend(x: float, y: float, to_x: float, to_y: float) -> str:
    half = (x + to_x) / 2
    return f"C{half:.1f} {y:.1f} {half:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"


def _family(primitive: str) -> str:
    if not primitive:
        return "output"
    return next((family for family in _COLORS if family in primitive), "other")
