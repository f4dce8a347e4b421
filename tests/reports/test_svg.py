"""Axes and marks, counted by hand."""

import math
import re
from xml.etree import ElementTree

import pytest

from jdarts.reports.svg import (
    Bar,
    Line,
    Scale,
    bars,
    heat_map,
    line_chart,
    short,
    ticks,
)

WORDS = {"title": "T & t", "description": "D < d"}
AXES = {"x_label": "epoch", "y_label": "loss"}


@pytest.mark.parametrize(
    "low, high, count, expected",
    [
        (0, 10, 5, [0, 2, 4, 6, 8, 10]),
        (0.07, 1.9, 5, [0.5, 1, 1.5]),
        (-1.7, 2.0, 4, [-1, 0, 1, 2]),
        (1, 50, 6, [10, 20, 30, 40, 50]),
        (3, 3, 5, [3]),
        (1e-6, 2e-6, 5, [1e-6, 1.2e-6, 1.4e-6, 1.6e-6, 1.8e-6, 2e-6]),
    ],
)
def test_ticks(low, high, count, expected):
    assert ticks(low, high, count) == pytest.approx(expected)


@pytest.mark.parametrize(
    "value, expected",
    [
        (0, "0"),
        (0.084651, "0.08465"),
        (12.3, "12.3"),
        (1437, "1437"),
        (19500.0, "19500"),
        (-2, "-2"),
        (1.5e-7, "1.5e-7"),
        (3e8, "3e8"),
        (math.nan, "nan"),
    ],
)
def test_short(value, expected):
    assert short(value) == expected


def test_scale():
    assert Scale(2, 4, 100, 0)(2.5) == 75
    assert Scale(2, 2, 100, 0)(2) == 50


def points(path):
    return [tuple(map(float, p)) for p in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)]


def test_a_line_goes_through_its_points():
    line = Line("a", [(1, 0.0), (2, 1.0), (4, 0.5)], "s0")
    svg = line_chart([line], **WORDS, **AXES)
    path = ElementTree.fromstring(svg).find("path[@class='line s0']").get("d")
    (x1, y1), (x2, y2), (x4, y4) = points(path)
    assert (x4 - x1) == pytest.approx(3 * (x2 - x1), abs=0.11)
    assert y1 > y4 > y2 and y4 == pytest.approx((y1 + y2) / 2, abs=0.11)


def test_values_that_are_not_finite_interrupt_a_line():
    line = Line("a", [(1, 1.0), (2, math.nan), (3, 2.0), (4, 3.0)], "s0")
    svg = line_chart([line], **WORDS, **AXES)
    path = ElementTree.fromstring(svg).find("path[@class='line s0']").get("d")
    assert path.count("M") == 2 and path.count("L") == 1 and "nan" not in svg


def test_a_single_point_can_be_seen():
    svg = line_chart([Line("a", [(1, 1.0)], "s0")], **WORDS, **AXES)
    assert "line dot s0" in svg


def test_charts_are_read_out():
    for svg in (
        line_chart([Line("a", [(1, 1.0)], "s0")], **WORDS, **AXES),
        bars([Bar("a", 1.0, "f0")], **WORDS),
    ):
        root = ElementTree.fromstring(svg)
        assert root.get("role") == "img"
        assert (root.find("title").text, root.find("desc").text) == ("T & t", "D < d")


def test_bars_share_the_width():
    svg = bars([Bar("a", 1.0, "f0"), Bar("b", 3.0, "f1")], **WORDS)
    first, second = ElementTree.fromstring(svg).findall("rect")
    assert float(first.get("width")) == 720 / 4 - 1
    assert float(second.get("x")) == 720 / 4


def test_heat_map():
    """Two rows in two groups: the darkest and lightest shade; equal ones are one."""
    svg = heat_map(
        [[0, 0, 1], [1, 1, 1]],
        **WORDS,
        row_names=["a", "b"],
        columns=(1, 3),
        span=(0, 1),
        groups=[2, 3],
        marked=[1],
    )
    root = ElementTree.fromstring(svg)
    light, dark = root.findall("path[@class='heat']")
    assert float(light.get("stroke-opacity")) == 0.05
    assert float(dark.get("stroke-opacity")) == 1
    assert light.get("d").count("M") == 1 and dark.get("d").count("M") == 2
    assert len(root.findall("path[@class='mark']")) == 1
    assert [t.text for t in root.findall("text")] == ["a", "b", "1", "3"]
