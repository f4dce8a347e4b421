"""Drawings: valid, self-contained, nothing covers anything."""

import itertools
import random
import re
import xml.etree.ElementTree as ET

import pytest

from jdarts import ZOO
from jdarts.io import cell_svg, cell_text
from jdarts.spaces import CellGenotype, Connection

SVG = "{http://www.w3.org/2000/svg}"
PRIMITIVES = ("sep_conv_5x5", "max_pool_3x3", "skip_connect", "dil_conv_3x3")


def make_cell(*edges):
    pairs = [Connection(name, source) for name, source in edges]
    nodes = tuple(tuple(pairs[i : i + 2]) for i in range(0, len(pairs), 2))
    return CellGenotype(nodes, tuple(range(2, 2 + len(nodes))))


def random_cell(seed):
    rng = random.Random(seed)
    sources = [rng.randrange(2 + i // 2) for i in range(10)]
    return make_cell(*((rng.choice(PRIMITIVES), source) for source in sources))


sep, skip, dil, pool = "sep_conv_3x3", "skip_connect", "dil_conv_3x3", "max_pool_3x3"
CELLS = {
    "normal": make_cell(
        *((sep, 0), (sep, 1), (sep, 0), (sep, 1)),
        *((sep, 1), (skip, 0), (skip, 0), (dil, 2)),
    ),
    "reduce": make_cell(
        *((pool, 0), (pool, 1), (skip, 2), (pool, 1)),
        *((pool, 0), (skip, 2), (skip, 2), (pool, 1)),
    ),
    "toy": make_cell((skip, 0), (sep, 1), (sep, 2), (sep, 0)),
    "recurrent": ZOO["RNN_ENAS"].cells["recurrent"],
    "same source": make_cell((sep, 0), (dil, 0), (skip, 2), (skip, 2)),
    **{f"random {seed}": random_cell(seed) for seed in range(6)},
}


def boxes(root):
    """(left, top, right, bottom) of the labels and of the nodes."""
    labels = []
    for text in root.iter(f"{SVG}text"):
        if text.get("class") == "label":
            x, y, width = float(text.get("x")), float(text.get("y")), 8 * len(text.text)
            labels.append((x - width / 2, y - 12, x + width / 2, y + 4))
    nodes = [
        (x, y, x + w, y + h)
        for x, y, w, h in (
            [float(rect.get(k)) for k in ("x", "y", "width", "height")]
            for rect in root.iter(f"{SVG}rect")
        )
    ]
    return labels, nodes


def overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def points(d):
    """Points along a path of M, C and H commands."""
    here, found = (0.0, 0.0), []
    for command, rest in re.findall(r"([MCH])([^MCH]*)", d):
        n = [float(v) for v in rest.split()]
        if command == "M":
            here = (n[0], n[1])
        elif command == "H":
            found += [(here[0] + t / 20 * (n[0] - here[0]), here[1]) for t in range(21)]
            here = (n[0], here[1])
        else:
            p = [here, *zip(n[::2], n[1::2], strict=True)]
            for t in (i / 20 for i in range(21)):
                c = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
                weighted = [(a * x, a * y) for a, (x, y) in zip(c, p, strict=True)]
                found.append(tuple(map(sum, zip(*weighted, strict=True))))
            here = p[-1]
    return found


@pytest.mark.parametrize("name", CELLS)
def test_nothing_overlaps(name):
    cell = CELLS[name]
    root = ET.fromstring(cell_svg(cell, name))
    labels, nodes = boxes(root)
    paths = [points(path.get("d")) for path in root.iter(f"{SVG}path")]
    assert len(labels) == len(cell.connections)
    assert len(nodes) == cell.inputs + len(cell.nodes) + 1
    assert len(paths) == len(cell.connections) + len(cell.concat)
    for a, b in itertools.combinations(labels + nodes, 2):
        assert not overlap(a, b)
    for x, y in itertools.chain(*paths):
        assert not any(overlap((x, y, x, y), box) for box in labels)
        assert not any(overlap((x, y, x, y), box) for box in nodes)
    width, height = (float(root.get(k)) for k in ("width", "height"))
    shift_x, shift_y = re.findall(r"[\d.]+", root.find(f"{SVG}g").get("transform"))
    for left, top, right, bottom in labels + nodes:
        assert 0 <= left + float(shift_x) and right + float(shift_x) <= width
        assert 0 <= top + float(shift_y) and bottom + float(shift_y) <= height


def test_arrows_join_the_right_nodes():
    cell = CELLS["normal"]
    root = ET.fromstring(cell_svg(cell, "t"))
    _, nodes = boxes(root)

    def at(x, y):
        near = [i for i, b in enumerate(nodes) if overlap((x - 10, y, x + 10, y), b)]
        assert len(near) == 1
        return near[0]

    ends = [points(path.get("d")) for path in root.iter(f"{SVG}path")]
    expected = [(e.source, 2 + i) for i, node in enumerate(cell.nodes) for e in node]
    expected += [(i, 6) for i in cell.concat]
    assert [(at(*p[0]), at(*p[-1])) for p in ends] == expected
    labels = [t.text for t in root.iter(f"{SVG}text") if t.get("class") == "label"]
    assert labels == [edge.primitive for edge in cell.connections]


def test_text_is_escaped_and_nothing_is_fetched():
    cell = make_cell(("<a>&\"'", 0), ("b", 1))
    svg = cell_svg(cell, 'x < "y" & z')
    root = ET.fromstring(svg)
    assert root.find(f"{SVG}title").text == 'x < "y" & z'
    assert root.get("aria-label") == 'x < "y" & z'
    assert svg.count("http") == 1  # the name space
    assert "currentColor" in svg and "prefers-color-scheme:dark" in svg


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (
        (p + 0.055) ** 2.4 / 1.055**2.4 if p > 0.04 else p / 12.92 for p in parts
    )
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def test_colors_differ_by_family_and_stand_out_in_light_and_dark():
    cell = make_cell((sep, 0), (pool, 1), (skip, 0), ("lstm", 1))
    root = ET.fromstring(cell_svg(cell, "t"))
    colors = {path.get("stroke") for path in root.iter(f"{SVG}path")}
    assert len(colors) == 5
    for color in colors:
        assert 1.05 / (luminance(color) + 0.05) >= 3
        assert (luminance(color) + 0.05) / (luminance("#0d1117") + 0.05) >= 3


def test_text():
    assert cell_text(CELLS["toy"]) == (
        "node 0 = skip_connect(c_{k-2}) + sep_conv_3x3(c_{k-1})\n"
        "node 1 = sep_conv_3x3(node 0)  + sep_conv_3x3(c_{k-2})\n"
        "c_{k}  = concat(node 0, node 1)"
    )


def test_text_of_a_recurrent_cell():
    lines = cell_text(ZOO["RNN_DARTS_V2"].cells["recurrent"]).splitlines()
    assert lines[0] == "node 0 = sigmoid(s_0)" and lines[4] == "node 4 = tanh(node 1)"
    nodes = ", ".join(f"node {i}" for i in range(8))
    assert lines[-1] == f"h_t    = mean({nodes})"


def test_a_cell_without_a_connection():
    """As NAS-Bench-201 has one: `none` on every edge."""
    cell = CellGenotype(((), (), ()), (3,), inputs=1)
    assert "<svg" in cell_svg(cell, "empty") and "node 2" in cell_text(cell)
