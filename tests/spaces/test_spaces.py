"""Search spaces: numbering, layout, genotypes as JSON."""

import json

import numpy as np
import pytest

from jdarts import SPACES, Genotype, UserError, derive_genotype, get_space
from jdarts.ops import OPS
from jdarts.spaces import CellGenotype, CellSpec, Connection


def genotype(name, seed):
    space, random = SPACES[name], np.random.default_rng(seed)
    mix = {
        kind: random.random((len(spec.edges), len(spec.primitives))) * spec.offered
        for kind, spec in space.cells.items()
    }
    return derive_genotype(space, mix)


@pytest.mark.parametrize("name", SPACES)
def test_row_of_the_table(name):
    space = get_space(name)
    assert space.name == name and space.reference


@pytest.mark.parametrize("name", [n for n, s in SPACES.items() if s.task == "images"])
def test_spaces_of_images(name):
    space = get_space(name)
    strides = {"normal": 1}
    if space.skeleton == "two inputs":
        strides["reduce"] = 2
    assert {kind: spec.stride for kind, spec in space.cells.items()} == strides
    for spec in space.cells.values():
        assert set(spec.primitives) <= set(OPS)
        assert len(set(spec.primitives)) == len(spec.primitives)


def test_every_edge_of_s1_has_two_primitives():
    for spec in SPACES["s1"].cells.values():
        assert len(spec.offered) == 14
        assert {sum(row) for row in spec.offered} == {2}
    normal = SPACES["s1"].cells["normal"]
    assert normal.edge_primitives[5] == ("max_pool_3x3", "skip_connect")
    assert normal.edge_primitives[-1] == ("dil_conv_3x3", "dil_conv_5x5")


def test_unknown_space():
    with pytest.raises(UserError, match="did you mean 'darts_cnn'"):
        get_space("dart_cnn")


def test_edges_of_the_darts_cell():
    spec = SPACES["darts_cnn"].cells["normal"]
    assert len(spec.edges) == 14
    assert spec.edges[:5] == ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    slices = [(s.start, s.stop) for s in spec.node_slices]
    assert slices == [(0, 2), (2, 5), (5, 9), (9, 14)]
    assert spec.concat == (2, 3, 4, 5)
    for node, rows in enumerate(spec.node_slices, spec.inputs):
        assert [e for e in spec.edges if e[1] == node] == list(spec.edges[rows])


def test_edges_of_the_recurrent_cell():
    spec = SPACES["darts_rnn"].cells["recurrent"]
    assert spec.edges[:4] == ((0, 1), (0, 2), (1, 2), (0, 3))
    assert len(spec.edges) == 36 and spec.concat == tuple(range(1, 9))
    assert [s.start for s in spec.node_slices] == [i * (i + 1) // 2 for i in range(8)]


@pytest.mark.parametrize(
    ("layers", "reductions"),
    [(3, {1, 2}), (5, {1, 3}), (8, {2, 5}), (11, {3, 7}), (14, {4, 9}), (17, {5, 11})]
    + [(20, {6, 13})],
)
def test_where_reductions_stand(layers, reductions):
    layout = SPACES["darts_cnn"].layout(layers)
    assert len(layout) == layers
    assert {i for i, kind in enumerate(layout) if kind == "reduce"} == reductions


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("seed", range(3))
def test_genotype_round_trip(name, seed, tmp_path):
    found = genotype(name, seed)
    text = json.dumps(found.to_json())
    assert Genotype.from_json(json.loads(text)) == found
    path = tmp_path / "genotype.json"
    path.write_text(text)
    assert Genotype.load(path) == found
    path.write_text(json.dumps({"final": found.to_json(), "epochs": []}))
    assert Genotype.load(path) == found


def test_genotypes_differ():
    assert genotype("toy", 0) != genotype("toy", 1)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "text",
        {},
        {"space": "toy"},
        {"cells": {}},
        {"space": "toy", "cells": []},
        {"space": "toy", "cells": {"normal": {}}},
        {"space": "toy", "cells": {"normal": {"nodes": [], "concat": None}}},
        {"space": "toy", "cells": {"normal": {"nodes": [["a"]], "concat": []}}},
        {"space": "toy", "cells": {"normal": {"nodes": [[["a", "b"]]], "concat": []}}},
        {"space": "toy", "cells": {"normal": {"nodes": [[["a", 1, 2]]], "concat": []}}},
    ],
)
def test_corrupt_genotype(data):
    with pytest.raises(UserError, match="here.json: .*expected"):
        Genotype.from_json(data, "here.json")


@pytest.mark.parametrize("source", [-1, 2, 7])
def test_connection_to_a_node_that_does_not_come_before(source):
    """The first node is number 2: it can only read 0 and 1."""
    cell = CellGenotype(nodes=((Connection("skip_connect", source),),), concat=(2,))
    data = Genotype("toy", {"normal": cell}).to_json()
    with pytest.raises(UserError, match="here.json"):
        Genotype.from_json(data, "here.json")


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(UserError, match="absent.json: cannot be read"):
        Genotype.load(tmp_path / "absent.json")
    path = tmp_path / "bad.json"
    path.write_text("{")
    with pytest.raises(UserError, match="bad.json: not JSON"):
        Genotype.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"output": "sum"}, "output is 'sum'"), ({"inputs": 2}, "2 inputs, expected 1")],
)
def test_corrupt_recurrent_genotype(change, message):
    data = genotype("darts_rnn", 0).to_json()
    assert data["cells"]["recurrent"]["output"] == "mean"
    data["cells"]["recurrent"] |= change
    with pytest.raises(UserError, match=message):
        Genotype.from_json(data, "here.json")


def test_cell_spec_is_frozen():
    with pytest.raises(AttributeError):
        CellSpec(primitives=("a",), nodes=1).nodes = 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"primitives": ("none",)},
            "primitives: none; expected at least one operation",
        ),
        ({"primitives": ()}, "primitives: empty; expected at least one"),
        (
            {"edge_primitives": (("a",), ())},
            r"edge_primitives\[1\]: empty; expected at least one",
        ),
        ({"edge_primitives": (("none",), ("a",))}, r"edge_primitives\[0\]: none; exp"),
        ({"edge_primitives": (("a",),)}, "edge_primitives: of 1 edges; expected 2"),
        (
            {"edge_primitives": (("a",), ("bb",))},
            r"edge_primitives\[1\]: unknown 'bb'",
        ),
    ],
)
def test_edges_without_an_op_are_refused(fields, message):
    with pytest.raises(UserError, match=message):
        CellSpec(**{"primitives": ("none", "a", "b"), "nodes": 1, **fields})


def test_an_edge_that_is_always_kept_may_be_none():
    assert CellSpec(primitives=("none",), nodes=1, keep=None).choices(0) == [0]
