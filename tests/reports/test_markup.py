"""Whatever the files of a run hold, it enters a report as text and as nothing else."""

import base64
import dataclasses
import hashlib
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from folders import (
    config,
    make_comparison,
    make_run,
    make_text_training,
    make_training,
)
from selectolax.lexbor import LexborHTMLParser

from jdarts import ZOO
from jdarts.io import cell_svg, write_json
from jdarts.reports import write_report
from jdarts.reports.pareto import Point, front_page
from jdarts.reports.regret import Group, regret_page

TEXT = (
    "<script>alert(1)</script>\"'&amp;&<img src=x onerror=alert(1)>]]>-->"
    "</style></title></svg><a href='javascript:alert(1)'>\0\ud800\x1b{{7*7}}{% x %}"
)
"""One string that tries every way out: of text, attributes, styles, SVG, templates."""
NUMBERS = (TEXT, 10**400)  # in the place of a number
KEYS = {TEXT: 1.0, f"{TEXT}_seconds": 1.0, f"skips_{TEXT}": 1, f"{TEXT}_text": TEXT}


def make_search(folder):
    """A search with all that can lie beside it, but for other runs."""
    make_run(folder, epochs=2, settings=config(epochs=2))
    edges = {kind: [["skip_connect"]] * 5 for kind in ("normal", "reduce")}
    stage = {"epochs": [1, 2], "added_layers": 0, "primitives": edges}
    write_json(folder / "stages.json", [stage])
    part = {"name": "stem", "output": [4, 4, 2], "parameters": 3, "multiply_adds": 4}
    part |= {"kept_bytes": 5, "temp_bytes": {}, "seconds": {"1": 0.5}}
    network = {"channels": 4, "layers": 2, "image": [8, 8, 1]}
    cost = {"network": network, "device": "a device", "batch_size": 2}
    write_json(folder / "cost.json", cost | {"parts": [part], "total": part})
    file = folder / "arch.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        row["beta"] = {"normal": [0.5] * 5}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_inner(folder):
    """A search of several seeds, with a training and a comparison in it."""
    make_run(folder, epochs=1, settings=config(epochs=1, seed=None, seeds=(3, 8)))
    make_training(folder / "again", epochs=1)
    make_comparison(folder / "compare")


MAKERS = {
    "search": make_search,
    "inner": make_inner,
    "training": make_training,
    "text": make_text_training,
    "comparison": make_comparison,
}
"""Makes a folder of each kind."""
ALTERED = {
    "inner": "seed_3/metrics.jsonl again/result.json compare/compare.json".split()
}
"""Files that are altered; not named: all."""


def shape(page):
    """``(tag, attribute)`` of every attribute, and ``(tag, None)`` of every element.

    Also checks what attributes may hold: links go to the page itself alone.
    """
    found = set()
    for node in LexborHTMLParser(page).root.traverse(include_text=False):
        found.add((node.tag, None))
        for name, value in node.attributes.items():
            found.add((node.tag, name))
            if name in ("href", "src"):
                assert re.fullmatch(r"#[\w-]+|data:,", value or ""), value
            elif name not in ("content", "aria-label"):
                assert "<" not in (value or "") and "script" not in (value or "")
    return found


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("markup")
    for name, make in MAKERS.items():
        make(root / name)
    return root


@pytest.fixture(scope="module")
def clean(folders, reports):
    """What pages of ordinary runs consist of."""
    pages = [write_report(folders / name) for name in MAKERS] + list(reports.values())
    return set().union(*(shape(page.read_text()) for page in pages))


def leaves(data, path=()):
    """``(path, container, key)`` of every leaf and every mapping; a path has ``*`` for
    the places of a list."""
    if isinstance(data, dict):
        yield (*path, "{}"), data, None
        for key, value in list(data.items()):
            if isinstance(value, dict | list):
                yield from leaves(value, (*path, key))
            else:
                yield (*path, key), data, key
    elif isinstance(data, list):
        for i, value in enumerate(data):
            if isinstance(value, dict | list):
                # Rows differ by their kind: each is a kind of place itself.
                kind = value.get("kind", "*") if isinstance(value, dict) else "*"
                yield from leaves(value, (*path, kind))
            else:
                yield (*path, "*"), data, i


def alterations(file):
    """``(where, text of the file)``: in every place that a hostile value could have;
    places that differ by a position alone are one, all altered at once."""
    rows = file.suffix == ".jsonl"
    content = file.read_text()

    def parsed():
        return (
            [json.loads(x) for x in content.splitlines()]
            if rows
            else [json.loads(content)]
        )

    def written(data):
        # Each on one line: NUL and halves of surrogate pairs as \uXXXX.
        return "".join(json.dumps(row) + "\n" for row in data)

    places = {}
    for path, holder, key in leaves(parsed()):
        value = KEYS if key is None else holder[key]
        places.setdefault(path, value)
    for place, value in places.items():
        if isinstance(value, bool) or value is None or isinstance(value, str):
            values = [TEXT]
        else:
            values = [None] if isinstance(value, dict) else NUMBERS
        for new in values:
            data = parsed()
            for path, holder, key in leaves(data):
                if path == place and key is None:
                    holder |= KEYS
                elif path == place:
                    holder[key] = new
            yield (place, new), written(data)


@pytest.mark.parametrize("name", MAKERS)
def test_no_value_of_any_file_becomes_markup(folders, clean, name):
    folder, count, shown = folders / name, 0, 0
    files = [folder / file for file in ALTERED.get(name, [])]
    for file in files or sorted(folder.rglob("*.json*")):
        before = file.read_bytes()
        for where, content in alterations(file):
            count += 1
            file.write_text(content)
            try:
                page = write_report(folder).read_text()
            except Exception:
                continue  # no page, no markup; what is said then is tested elsewhere
            assert not shape(page) - clean, (file.name, where)
            shown += "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        file.write_bytes(before)
    assert count > 50 and shown > 5, (count, shown)
    assert shape(write_report(folder).read_text()) <= clean


def test_names_of_several_searches_are_text(clean):
    point = Point(TEXT, TEXT, 0, 1.0, 0.5)
    front = front_page([point], np.array([True]), TEXT, TEXT, TEXT)
    epochs = np.array([1, 2])
    group = Group(TEXT, epochs, np.ones((2, 2)), np.ones(2), 0.5, 1.0)
    for page in (front, regret_page([group])):
        assert shape(page) <= clean
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "\0" not in page


def test_a_page_forbids_scripts(reports):
    """The policy names the style sheets of the page, by the digest browsers take."""
    for page in reports.values():
        tree = LexborHTMLParser(page.read_text())
        policies = [
            node.attributes["content"]
            for node in tree.css("head meta[http-equiv='Content-Security-Policy']")
        ]
        (policy,) = policies
        assert policy.startswith("default-src 'none';") and "unsafe" not in policy
        for sheet in tree.css("style"):
            digest = hashlib.sha256(sheet.text(deep=True).encode()).digest()
            assert f"'sha256-{base64.b64encode(digest).decode()}'" in policy


def test_a_drawing_is_well_formed_whatever_its_names_are():
    cell = ZOO["DARTS_V2"].cells["normal"]
    edge = cell.nodes[0][0]._replace(primitive=TEXT)
    cell = dataclasses.replace(cell, nodes=((edge, cell.nodes[0][1]), *cell.nodes[1:]))
    svg = cell_svg(cell, TEXT)
    root = ElementTree.fromstring(svg.encode())
    assert {node.tag.split("}")[1] for node in root.iter()} == {
        *("svg", "title", "desc", "style", "text", "g", "path", "polygon", "rect")
    }
    seen = TEXT.replace("\0", "\ufffd").replace("\ud800", "\ufffd")
    assert root.find("{*}title").text == seen.replace("\x1b", "\ufffd")
