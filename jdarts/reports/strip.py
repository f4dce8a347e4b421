"""Single values along a line, a lane for each kind: a mean would hide too much."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from jdarts.reports.svg import Scale, short, svg, text, ticks

__all__ = ["Lane", "strip_chart"]

_WIDTH, _LANE = 360, 34


class Lane(NamedTuple):
    """The values of one kind.

    Attributes:
      name: above its line.
      values: a dot each.
      mean: a stroke.
      style: class of its colour.
    """

    name: str
    values: Sequence[float]
    mean: float
    style: str


def strip_chart(
    lanes: Sequence[Lane], *, title: str, description: str, x_label: str
) -> Markup:
    """Lanes above each other, over a common horizontal axis.

    Args:
      lanes: each with at least one value.
      title: read out, and shown by a browser that hovers.
      description: read out.
      x_label: what is on the axis.
    """
    values = [value for lane in lanes for value in (*lane.values, lane.mean)]
    low, high = min(values), max(values)
    air = (high - low) / 20 or 1.0
    x = Scale(low - air, high + air, 8, _WIDTH - 8)
    bottom = _LANE * len(lanes)
    line = Markup('<path class="grid" d="M{:.1f} 0V{}"/>')
    parts = [
        line.format(x(mark), bottom + 4)
        + text("tick", x(mark), bottom + 17, short(mark), "middle")
        for mark in ticks(x.low, x.high, 5)
    ]
    parts += [_lane(lane, x, _LANE * i) for i, lane in enumerate(lanes)]
    parts.append(text("axis", _WIDTH - 8, bottom + 31, x_label, "end"))
    return svg(_WIDTH, bottom + 35, title, description, parts)


def _lane(lane: Lane, x: Scale, top: float) -> Markup:
    y = top + 24
    dot = Markup('<circle class="dot {}" cx="{:.1f}" cy="{}" r="4"/>')
    mean = Markup('<path class="line mean {}" d="M{:.1f} {}v16"/>')
    return Markup("").join(
        [
            text("name", 0, top + 11, lane.name),
            *(dot.format(lane.style, x(value), y) for value in lane.values),
            mean.format(lane.style, x(lane.mean), y - 8),
        ]
    )
