"""Single values along a line, a lane for each kind: a mean would hide too much."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from jdarts.reports.svg import Scale, short, svg, ticks

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
) -> str:
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
    parts = [
        f'<path class="grid" d="M{x(mark):.1f} 0V{bottom + 4}"/><text class="tick" '
        f'x="{x(mark):.1f}" y="{bottom + 17}" text-anchor="middle">{short(mark)}</text>'
        for mark in ticks(x.low, x.high, 5)
    ]
    parts += [_lane(lane, x, _LANE * i) for i, lane in enumerate(lanes)]
    parts.append(
        f'<text class="axis" x="{_WIDTH - 8}" y="{bottom + 31}" text-anchor="end">'
        f"{escape(x_label)}</text>"
    )
    return svg(_WIDTH, bottom + 35, title, description, parts)


def _lane(lane: Lane, x: Scale, top: float) -> str:
    y = top + 24
    dots = "".join(
        f'<circle class="dot {lane.style}" cx="{x(value):.1f}" cy="{y}" r="4"/>'
        for value in lane.values
    )
    return (
        f'<text class="name" x="0" y="{top + 11}">{escape(lane.name)}</text>{dots}'
        f'<path class="line mean {lane.style}" d="M{x(lane.mean):.1f} {y - 8}v16"/>'
    )
