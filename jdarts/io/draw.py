"""A derived cell as a picture and as text."""

import re
from collections.abc import Iterable

from markupsafe import Markup

from jdarts.io.layout import CHARACTER, Edge, Layout, Slot, lay_out
from jdarts.spaces import CellGenotype

__all__ = [
    "CELL_STYLE",
    "cell_key",
    "cell_svg",
    "cell_text",
    "cell_width",
    "legible",
]

_MARGIN, _TITLE = 16.0, 30.0
_ILLEGIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]"
)
_LARGE, _SMALL = CHARACTER, 6.4  # width of a character in a node, and of an index
# Text takes the page's own colour. `svg:root` matches a file of its own only, so inside
# a page the page decides.
CELL_STYLE = Markup("""
svg:root{color:#1f2328;background:#fff}
@media (prefers-color-scheme:dark){svg:root{color:#e6edf3;background:#0d1117}}
.jdarts-cell text{font:13px ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;\
fill:currentColor}
.jdarts-cell .sub{font-size:10px}
.jdarts-cell .title{font:600 15px system-ui,"DejaVu Sans",sans-serif}
.jdarts-cell .node{fill:currentColor;fill-opacity:.07;stroke:currentColor;\
stroke-width:1.5}
.jdarts-cell path{fill:none;stroke-width:2}
""")
"""Style sheet of the drawings."""
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


def cell_width(cell: CellGenotype, title: str) -> float:
    """The width of `cell_svg`, in pixels."""
    return max(lay_out(cell).width, _title_width(title)) + 2 * _MARGIN


def cell_svg(cell: CellGenotype, title: str, width: float = 0.0) -> Markup:
    """Draws a derived cell from left to right, as a self-contained SVG.

    Args:
      cell: the cell.
      title: shown above it.
      width: at least so wide, by an empty margin at the right: drawings of one width
        have one scale, wherever they are shown.

    Returns:
      The text of the file; it may also stand inside an HTML page, whose text colour it
      then takes.
    """
    layout = lay_out(cell)
    own = max(layout.width, _title_width(title)) + 2 * _MARGIN
    top = _MARGIN + (_TITLE if title else 0)
    height = layout.height + top + _MARGIN
    left = (own - layout.width) / 2
    head = Markup('<text class="title" x="{:g}" y="28">{}</text>')
    svg = Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" class="jdarts-cell" role="img" '
        'aria-label="{title}" width="{width:.0f}" height="{height:.0f}" '
        'viewBox="0 0 {width:.0f} {height:.0f}">\n'
        "<title>{title}</title>\n<desc>{text}</desc>\n<style>{style}</style>\n"
        '{head}\n<g transform="translate({left:.1f} {top:.1f})">\n{parts}\n</g>\n'
        "</svg>\n"
    ).format(
        title=title,
        text=cell_text(cell),
        style=CELL_STYLE,
        head=head.format(_MARGIN, title) if title else "",
        width=max(own, width),
        height=height,
        left=left,
        top=top,
        parts=Markup("\n").join(_parts(layout)),
    )
    return legible(svg)


def cell_key(cells: Iterable[CellGenotype]) -> list[tuple[str, Markup]]:
    """What the lines of these cells mean.

    Returns:
      The names of the primitives that share a line's colour and dash, and a path of it
      in a box of 22 x 10.
    """
    found: dict[str, list[str]] = {}
    names = dict.fromkeys(c.primitive for cell in cells for c in cell.connections)
    for name in (*names, ""):
        found.setdefault(_family(name), []).append(name or "to the output")
    path = Markup('<path d="M1 5H21" {}/>')
    return [(", ".join(own), path.format(_stroke(f))) for f, own in found.items()]


def legible(markup: str) -> Markup:
    """HTML or SVG, where U+FFFD stands for what neither format can hold: control
    characters, and halves of surrogate pairs.

    Args:
      markup: a whole file, or a part of one, escaped already.
    """
    return Markup(_ILLEGIBLE.sub("\ufffd", markup))  # noqa: S704  escaped already


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


def _parts(layout: Layout) -> list[Markup]:
    lines = [part for edge in layout.edges for part in _edge(edge)]
    return lines + [_node(slot) for slot in layout.nodes]


def _node(slot: Slot) -> Markup:
    name, _, below = slot.text.partition("_")
    below = below.strip("{}")
    x, y = slot.x + (slot.width - _LARGE * len(name) - _SMALL * len(below)) / 2, slot.y
    small = Markup('<text class="sub" x="{:.1f}" y="{:.1f}">{}</text>')
    return Markup(
        '<rect class="node" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" '
        'rx="9"/><text x="{:.1f}" y="{:.1f}">{}</text>{}'
    ).format(
        slot.x,
        y - slot.up,
        slot.width,
        slot.up + slot.down,
        x,
        y + 4.5,
        name,
        small.format(x + _LARGE, y + 8, below) if below else "",
    )


def _edge(edge: Edge) -> list[Markup]:
    family = _family(edge.primitive)
    x, y = edge.slots[-1].x, edge.end
    tip = f"{x - 9:.1f},{y - 4.5:.1f} {x - 1:.1f},{y:.1f} {x - 9:.1f},{y + 4.5:.1f}"
    parts = [
        Markup('<path d="{}" {}/>').format(_curve(edge), _stroke(family)),
        Markup('<polygon points="{}" fill="{}"/>').format(tip, _COLORS[family]),
    ]
    if edge.primitive:
        parts.append(_label(edge))
    return parts


def _label(edge: Edge) -> Markup:
    slot = edge.slots[-2]
    return Markup(
        '<text class="label" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>'
    ).format(slot.x + slot.width / 2, slot.y - 6, slot.text)


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


def _stroke(family: str) -> Markup:
    """The attributes of its lines."""
    stroke = Markup('stroke="{}"').format(_COLORS[family])
    dashed = family in ("skip", "identity")
    return stroke + Markup(' stroke-dasharray="6 4"') if dashed else stroke


def _title_width(title: str) -> float:
    return 9.5 * len(title)


def _family(primitive: str) -> str:
    if not primitive:
        return "output"
    return next((family for family in _COLORS if family in primitive), "other")
