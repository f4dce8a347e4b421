"""Charts as inline SVG: axes, lines, heat maps, bars.

Colours and dashes are classes of the page's style sheet (`report.css`), so that a chart
follows the reader's light or dark theme. Sizes are those of a telephone's screen: a
chart is scaled up elsewhere, never down to where it cannot be read.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

__all__ = [
    "Bar",
    "Line",
    "Scale",
    "bars",
    "heat_map",
    "line_chart",
    "short",
    "svg",
    "text",
    "ticks",
]

_HEAT_LEVELS = 24  # shades; more cannot be told apart


class Line(NamedTuple):
    """One line of a chart.

    Attributes:
      name: for the legend.
      points: ``(x, y)`` pairs; those that are not finite interrupt it.
      style: classes of its stroke.
    """

    name: str
    points: Sequence[tuple[float, float]]
    style: str


class Scale(NamedTuple):
    """From values to places: ``low`` to ``start``, ``high`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a value; the middle if the scale has no width."""
        if self.high == self.low:
            return (self.start + self.end) / 2
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) inside a range.

    Args:
      low: start of the range.
      high: its end, >= `low`.
      count: about how many of them.
    """
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    unit = next(unit for unit in (1, 2, 5, 10) if unit * power >= rough * 0.999)
    step = unit * power
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def short(value: float) -> str:
    """A number with at most four figures: ``0.0847``, ``12.3``, ``1437``."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e6:
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e")
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    description: str,
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
    size: tuple[int, int] = (360, 210),
    whole: bool = False,
) -> Markup:
    """Lines over a common horizontal axis.

    Args:
      lines: the later ones are drawn above the earlier ones.
      title: read out, and shown by a browser that hovers.
      description: read out.
      x_label: what is on the horizontal axis.
      y_label: what is on the vertical axis.
      y_range: at least these values are on the vertical axis.
      size: width and height.
      whole: the vertical axis has whole numbers only.
    """
    width, height = size
    points = [p for line in lines for p in line.points if _finite(p)]
    if not points:
        raise ValueError("a chart needs a point")
    low, high = _range([y for _, y in points], y_range)
    marks = ticks(low, high, 4 if height < 150 else 5)
    if whole:
        marks = [mark for mark in marks if mark == round(mark)]
    labels = [short(mark) for mark in marks]
    small = width < 200
    left = 8 + (5.4 if small else 6.2) * max(map(len, labels), default=1)
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    x = Scale(x_low, x_high, left + 4, width - 8)
    y = Scale(low, high, height - (17 if small else 32), 24 if y_label else 6)
    parts = [
        Markup('<path class="grid" d="M{:g} {:.1f}H{}"/>').format(left, y(mark), width)
        + text("tick", left - 5, y(mark) + 3.5, label, "end")
        for mark, label in zip(marks, labels, strict=True)
    ]
    parts += _x_axis(x, height - (4 if small else 16), 2 if small else 6)
    if y_label:
        parts.append(text("axis", 0, 10, y_label))
    if not small:
        parts.append(text("axis", width - 8, height - 2, x_label, "end"))
    parts += [_line(line, x, y) for line in lines]
    return svg(width, height, title, description, parts)


def heat_map(
    rows: Sequence[Sequence[float]],
    *,
    title: str,
    description: str,
    row_names: Sequence[str],
    columns: tuple[int, int],
    span: tuple[float, float],
    groups: Sequence[int],
    marked: Sequence[int] = (),
) -> Markup:
    """Values as shades: one row of rectangles each.

    Args:
      rows: the values, all rows of one length >= 1.
      title: read out, and shown by a browser that hovers.
      description: read out.
      row_names: at the left of the rows.
      columns: what the first and the last column are.
      span: the values of the lightest and the darkest shade.
      groups: the group of each row; there is a gap between two groups.
      marked: rows with a mark at their right end.
    """
    width, left, right, row = 172, 38, 162, 10
    levels: dict[int, list[str]] = {}
    parts, y = [], 4.0
    shade = Scale(*span, 0, _HEAT_LEVELS)
    cell = (right - left) / len(rows[0])
    for i, values in enumerate(rows):
        y += 3 if i and groups[i] != groups[i - 1] else 0
        for start, end, level in _runs([round(shade(v)) for v in values]):
            from_x, to_x = left + start * cell, left + end * cell
            levels.setdefault(level, []).append(f"M{from_x:.1f} {y:g}H{to_x:.1f}")
        parts.append(text("tick", left - 4, y + 3, row_names[i], "end"))
        if i in marked:
            mark = Markup('<path class="mark" d="M{} {:g}l6 -3.5v7z"/>')
            parts.append(mark.format(right + 2, y))
        y += row
    stroke = Markup('<path class="heat" stroke-opacity="{:.2f}" d="{}"/>')
    shades = [
        stroke.format(0.05 + 0.95 * level / _HEAT_LEVELS, "".join(runs))
        for level, runs in sorted(levels.items())
    ]
    first, last = columns
    parts.append(text("tick", left, y + 5, str(first)))
    if last != first:
        parts.append(text("tick", right, y + 5, str(last), "end"))
    return svg(width, round(y + 8), title, description, shades + parts)


class Bar(NamedTuple):
    """A part of a stacked bar.

    Attributes:
      name: what it is.
      value: its length, >= 0.
      style: class of its fill.
    """

    name: str
    value: float
    style: str


def bars(parts: Sequence[Bar], *, title: str, description: str) -> Markup:
    """One bar, divided into its parts, over the whole width."""
    width, height, total = 720, 26, sum(part.value for part in parts)
    x, drawn = 0.0, []
    for part in parts:
        length = width * part.value / total if total else 0.0
        drawn.append(
            Markup(
                '<rect class="{}" x="{:.1f}" y="0" height="{}" width="{:.1f}">'
                "<title>{}</title></rect>"
            ).format(part.style, x, height, max(length - 1, 0.4), part.name)
        )
        x += length
    return svg(width, height, title, description, drawn, stretch=True)


def svg(
    width: int,
    height: int,
    title: str,
    description: str,
    parts: Sequence[Markup],
    stretch: bool = False,
) -> Markup:
    """A drawing that is read out by its title and description.

    Args:
      width: of its own units.
      height: in the same units.
      title: a few words.
      description: what a reader would see in it.
      parts: its elements.
      stretch: fill the page's width at any ratio.
    """
    ratio = Markup(' preserveAspectRatio="none"') if stretch else ""
    return Markup(
        '<svg class="chart{}" role="img" viewBox="0 0 {width} {height}" '
        'width="{width}" height="{height}"{}><title>{}</title><desc>{}</desc>{}</svg>'
    ).format(
        " stretch" if stretch else "",
        ratio,
        title,
        description,
        Markup("").join(parts),
        width=width,
        height=height,
    )


def text(style: str, x: float, y: float, words: str, anchor: str = "start") -> Markup:
    """Words; their start, middle or end (`anchor`) is at the place."""
    return Markup(
        '<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>'
    ).format(style, x, y, anchor, words)


def _finite(point: tuple[float, float]) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1])


def _range(
    values: list[float], wanted: tuple[float, float] | None
) -> tuple[float, float]:
    """From the smallest to the largest, with some air where they are all alike."""
    low, high = min(values), max(values)
    if wanted is not None:
        low, high = min(low, wanted[0]), max(high, wanted[1])
    if low == high:
        air = abs(low) / 10 or 1.0
        return low - air, high + air
    return low, high


def _x_axis(x: Scale, y: float, count: int) -> list[Markup]:
    if count == 2:
        marks = sorted({x.low, x.high})
    else:
        marks = [m for m in ticks(x.low, x.high, count) if m == round(m)]
        marks = sorted({x.low, *(m for m in marks if x(m) - x.start > 22)})
    return [
        text("tick", x(mark), y, short(mark), "end" if at_end else "middle")
        for mark, at_end in ((mark, mark == x.high != x.low) for mark in marks)
    ]


def _line(line: Line, x: Scale, y: Scale) -> Markup:
    path, pen, drawn = [], "M", 0
    for point in line.points:
        if not _finite(point):
            pen = "M"
            continue
        path.append(f"{pen}{x(point[0]):.1f} {y(point[1]):.1f}")
        pen, drawn = "L", drawn + 1
    dot = ""
    if drawn == 1:  # a path of one point cannot be seen
        path.append("h.01")
        dot = "dot "
    element = Markup('<path class="line {}{}" d="{}"/>')
    return element.format(dot, line.style, "".join(path))


def _runs(levels: Sequence[int]) -> list[tuple[int, int, int]]:
    """``(start, end, level)`` of each stretch of equal levels."""
    runs, start = [], 0
    for i in range(1, len(levels) + 1):
        if i == len(levels) or levels[i] != levels[start]:
            runs.append((start, i, levels[start]))
            start = i
    return runs
