"""Genotypes of other programs: every form that they print, and what is refused."""

import json
import time

import pytest

from jdarts import SPACES, ZOO, Genotype, UserError, load_genotype
from jdarts.io import GenotypeLog, genotype_place, write_json
from jdarts.io.peers import PEERS
from jdarts.io.printed import MAX_CHARACTERS, printed_names
from jdarts.ops import OPS

DARTS = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), "
    "('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=range(2, 6), "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), "
    "('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), "
    "('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=range(2, 6))"
)
"""DARTS_V2 as the authors print it."""
CELL = "normal=[('none', 0), ('none', 1)], reduce=[('none', 0), ('none', 1)]"


def pairs(cell, head="(", tail=")"):
    """Its edges, node by node."""
    return [
        head + ", ".join(f"({name!r}, {source})" for name, source in node) + tail
        for node in cell.nodes
    ]


@pytest.mark.parametrize(
    "text",
    [
        DARTS,
        DARTS.replace("range(2, 6)", "[2, 3, 4, 5]"),
        DARTS.replace("range(2, 6)", "(2, 3, 4, 5)"),
        DARTS.replace("range(2, 6)", "list(range(2, 6))"),
        DARTS.replace("), (", "),\n     # two a node\n     ("),
        DARTS.replace("'", '"').replace("[(", "((").replace(")]", "))"),
        f"DARTS = {DARTS}",
        f"DARTS = \\\n  {DARTS}\n",
        DARTS.replace("Genotype", "genotypes.Genotype"),
        f"11/22 10:05:00 PM genotype = {DARTS}",
        DARTS.replace("normal=", "").replace("normal_concat=", ""),
        DARTS.replace(", 0)", ", 0, 0.125)").replace(", 1)", ", 1, 0.5)"),
        DARTS.replace("reduce_concat", "connectN=None, connects=None, reduce_concat"),
    ],
)
def test_darts_as_it_is_printed(text):
    if text.startswith("Genotype([") or "Genotype([" in text:
        text = text.replace("reduce=", "").replace("reduce_concat=", "")
    assert load_genotype(text) == ZOO["DARTS_V2"]


@pytest.mark.parametrize("name", [n for n, g in ZOO.items() if g.task == "images"])
def test_every_published_cell_in_a_list_for_each_node(name):
    """As AutoDL's GDAS and pt.darts print it; two edges a node also as DARTS does."""
    genotype = ZOO[name]
    normal, reduce = (genotype.cells[kind] for kind in ("normal", "reduce"))
    concat = f"normal_concat={normal.concat}, reduce_concat={list(reduce.concat)}"
    for head, tail in (("[", "]"), ("(", ",)")):
        cells = [
            f"[{', '.join(x if x != '(,)' else '()' for x in pairs(cell, head, tail))}]"
            for cell in (normal, reduce)
        ]
        text = f"Genotype(normal={cells[0]}, reduce={cells[1]}, {concat})"
        assert load_genotype(text).cells == genotype.cells
    if {len(n) for c in (normal, reduce) for n in c.nodes} == {2}:
        flat = [[tuple(c) for c in cell.connections] for cell in (normal, reduce)]
        text = f"Genotype(normal={flat[0]}, reduce={flat[1]}, {concat})"
        found = load_genotype(text)
        assert found.cells == genotype.cells
        if genotype.space in SPACES:
            assert found.space == genotype.space
    data = {
        "normal": [list(map(list, node)) for node in normal.nodes],
        "normal_concat": list(normal.concat),
        "reduce": [list(map(list, node)) for node in reduce.nodes],
        "reduce_concat": list(reduce.concat),
        "connectN": None,
    }
    assert load_genotype(json.dumps(data)).cells == genotype.cells
    assert load_genotype(str(data)).cells == genotype.cells


def test_fair_darts_names_the_node():
    text = (
        "Genotype(normal=[('sep_conv_3x3', 2, 0), ('sep_conv_5x5', 2, 1), "
        "('max_pool_3x3', 4, 0), ('sep_conv_3x3', 5, 0)], normal_concat=range(2, 6), "
        "reduce=[('max_pool_3x3', 2, 0), ('avg_pool_3x3', 2, 1), "
        "('avg_pool_3x3', 3, 0), ('dil_conv_5x5', 3, 1), ('avg_pool_3x3', 4, 0), "
        "('sep_conv_5x5', 4, 1), ('skip_connect', 5, 0), ('skip_connect', 5, 1)], "
        "reduce_concat=range(2, 6))"
    )
    found = load_genotype(text)
    assert found.cells["reduce"] == ZOO["FairDARTS_a"].cells["reduce"]
    assert [len(node) for node in found.cells["normal"].nodes] == [2, 0, 1, 1]
    last = "Genotype(normal=[('none', 2, 0)], normal_concat=[2, 3, 4], reduce=[])"
    cell = load_genotype(last.replace("=[])", "=[('none', 3, 1)])")).cells["normal"]
    assert [len(node) for node in cell.nodes] == [1, 0, 0]


@pytest.mark.parametrize("name", [n for n, g in ZOO.items() if g.task == "text"])
def test_recurrent(name):
    cell = ZOO[name].cells["recurrent"]
    edges = [tuple(edge) for edge in cell.connections]
    concat = f"concat=range({cell.concat[0]}, {cell.concat[-1] + 1})"
    if cell.concat != tuple(range(cell.concat[0], cell.concat[-1] + 1)):
        concat = f"concat={list(cell.concat)}"
    found = load_genotype(f"Genotype(recurrent={edges}, {concat})")
    assert found.cells == {"recurrent": cell} and found.task == "text"
    assert load_genotype(f"Genotype({edges}, {concat[7:]})") == found


def test_nas_bench_201():
    text = (
        "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|"
        "skip_connect~2|"
    )
    found = load_genotype(text)
    assert found.space == "nas_bench_201"
    assert found.cells["normal"].nodes == (
        (("conv_3x3", 0),),
        (("avg_pool_3x3", 1),),
        (("skip_connect", 0), ("conv_1x1", 1), ("skip_connect", 2)),
    )
    assert found.cells["normal"].concat == (3,)
    assert load_genotype(f"arch = '{text}'") == found
    assert load_genotype(f"the best: {text}, accuracy 94.37") == found


def test_dictionaries_of_nni():
    cells, theirs = ZOO["DARTS_V2"].cells, {PEERS[n]: n for n in PEERS if "_" not in n}
    hub, mutables, bench = {"width": 36}, {}, {"OptimizerSelector:optimizer": "sgd"}
    space = "NetworkSelectorDatasetInfo:darts:"
    for kind, cell in cells.items():
        for number, node in enumerate(cell.nodes, 2):
            for k, (name, source) in enumerate(node):
                hub[f"{kind}/op_{number}_{k}"] = name
                hub[f"{kind}/input_{number}_{k}"] = [source] if k else source
            ordered = sorted(node, key=lambda edge: edge.source)
            inputs = [source for _, source in ordered]
            named = {source: name for name, source in ordered}
            for source in range(number):
                value = named.get(source, [])
                key = f"{kind}_n{number}_p{source}"
                mutables[key] = value and theirs[value]
            switch = [f"{kind}_n{number}_p{source}" for source in inputs]
            mutables[f"{kind}_n{number}_switch"] = inputs if number == 3 else switch
            first = sum(range(2, number))
            for name, source in ordered:
                bench[f"{space}edge_{kind}_{first + source}"] = name
            if number > 2:
                pair = "_".join(map(str, inputs))
                bench[f"{space}inputs_node_{kind}_{number}"] = pair
    assert load_genotype(json.dumps(hub)) == ZOO["DARTS_V2"]
    for data in (mutables, bench):
        found = load_genotype(json.dumps(data))
        for kind, cell in cells.items():
            expected = [sorted(node, key=lambda e: e.source) for node in cell.nodes]
            assert list(map(list, found.cells[kind].nodes)) == expected
    hub["normal/op_2_0"] = "max_pool_7x7"  # of NASNet's space: loose ends
    with pytest.raises(UserError, match="max_pool_7x7 is not of DARTS' space"):
        load_genotype(json.dumps(hub))


def test_names_of_peers():
    assert set(PEERS.values()) <= set(OPS)
    assert not set(PEERS) & set(OPS)
    text = (
        "Genotype(normal=[('conv_3x1_1x3', 0), ('conv 3x3', 1), ('dil_conv_3x3', 2), "
        "('conv 3x3', 1), ('dil_conv_3x3', 2), ('conv 3x3', 0), ('skip_connect', 0), "
        "('dil_conv_3x3', 3)], normal_concat=range(2, 6), "
        "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), "
        "('max_pool_5x5', 1), ('skip_connect', 2), ('skip_connect', 3), "
        "('skip_connect', 0), ('skip_connect', 1)], reduce_concat=range(2, 6))"
    )
    assert load_genotype(text) == ZOO["NASP_12op"]
    gdas = DARTS.replace("sep_conv_3x3", "dua_sepc_3x3").replace("dil_conv", "dil_sepc")
    assert load_genotype(gdas) == ZOO["DARTS_V2"]
    for name in set(OPS) | set(PEERS):
        node = load_genotype(DARTS.replace("dil_conv_3x3", name)).cells["normal"]
        assert node.nodes[3][1].primitive == PEERS.get(name, name)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("dil_sep_conv_3x3", "sep_conv_3x3"),
        ("sep_conv_9x9", "sep_conv_"),
        ("conv_1x3_3x1", "conv_3x1_1x3"),
        ("Sep_Conv_3x3", "sep_conv_3x3"),
        ("avg_pool_5x5", "avg_pool_3x3"),
        ("tanh", ""),
    ],
)
def test_names_that_only_look_alike(name, nearest):
    with pytest.raises(UserError, match=f"unknown '{name}'.*{nearest}"):
        load_genotype(DARTS.replace("dil_conv_3x3", name))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Genotype()", "no known form"),
        ("Genotype(normal=[('none', 0)])", "1 edges; expected two for each node"),
        (DARTS.replace("reduce=[", "reduce=None, other=["), "reduce: nothing"),
        (DARTS.replace(", 2)]", ", 9)]"), "reads node 9"),
        (DARTS.replace("range(2, 6)", "range(2, 9)"), "concat names node|nodes"),
        (DARTS.replace("range(2, 6)", "range(2, 10**9)"), "is not read"),
        (DARTS.replace("range(2, 6)", "range(10000000000000000000)"), "at most 100"),
        (DARTS.replace("range(2, 6)", "5"), "not a genotype"),
        (DARTS.replace("range(2, 6)", "['2']"), "numbers of nodes"),
        (DARTS.replace("('sep_conv_3x3', 0)", "'sep_conv_3x3'"), "number of the node"),
        (
            DARTS.replace("'dil_conv_3x3', 2", "'dil_conv_3x3', '2'"),
            "number of the node",
        ),
        (DARTS.replace("'dil_conv_3x3'", "OPS[3]"), "OPS.3.' is not read"),
        (f"Genotype(**dict({CELL}))", "is not read"),
        (f"Genotype(**{{'a': 1}}, {CELL})", "of other fields"),
        (f"Genotype(1, 2, 3, 4, 5, {CELL})", "of other fields"),
        ("Genotype(recurrent=[('tanh', 0)], concat=[7])", "concat names node 7"),
        ("Genotype(recurrent=[('sep_conv_3x3', 0)], concat=[1])", "primitive: unknown"),
        ("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~5|+|none~0|", "reads node 5"),
        ('{"normal/op_2_0": "sep_conv_3x3"}', "normal/input_2_0"),
        ('{"layers": 3}', "holds no genotype"),
        ("{", "holds no genotype"),
    ],
)
def test_malformed(text, said):
    with pytest.raises(UserError, match=said) as caught:
        load_genotype(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700


def test_nothing_is_evaluated(tmp_path):
    mark = tmp_path / "mark"
    call = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    for text in (
        DARTS.replace("range(2, 6)", call),
        DARTS.replace("'dil_conv_3x3'", call),
        f"{call}\nX = {DARTS}",
    ):
        file = tmp_path / "genotypes.py"
        file.write_text(text)
        for which in (text, file):
            try:
                load_genotype(which)
            except UserError as error:
                assert "not evaluated" in str(error)
    assert not mark.exists()


# --- files ----------------------------------------------------------------------------


def test_a_file_with_several(tmp_path):
    file = tmp_path / "genotypes.py"
    file.write_text(
        "from collections import namedtuple\n"
        "Genotype = namedtuple('Genotype', 'normal normal_concat reduce reduce_concat')"
        f"\nPRIMITIVES = ['none', 'skip_connect']\nV1 = Genotype({CELL})\n"
        f"V2 = {DARTS}\n# OLD = Genotype({CELL})\nDARTS = V2\n"
        "BAD = Genotype(normal=PRIMITIVES)\n"
    )
    assert printed_names(file.read_text()) == ["V1", "V2", "DARTS", "BAD"]
    with pytest.raises(UserError, match="4 genotypes, V1, V2, DARTS, BAD; .*py@BAD"):
        load_genotype(file)
    for name in ("V2", "DARTS"):
        assert load_genotype(f"{file}@{name}") == ZOO["DARTS_V2"]
    with pytest.raises(UserError, match="unknown 'V3'; did you mean 'V2'"):
        load_genotype(f"{file}@V3")
    with pytest.raises(UserError, match="py@BAD: line 8: 'PRIMITIVES' is not read"):
        load_genotype(f"{file}@BAD")
    assert genotype_place(f"{file}@V2").name == "V2"


def test_the_log_of_a_search(tmp_path):
    """One an epoch, all of one name: by number."""
    file, first = tmp_path / "log.txt", DARTS.replace("dil_conv_3x3", "dil_conv_5x5")
    epoch = "07/01 09:0%d:00 AM epoch %d lr 2.5e-02 (\n07/01 09:00 AM genotype = %s\n"
    texts = [first, DARTS, DARTS]
    file.write_text("".join(epoch % (i, i, text) for i, text in enumerate(texts)))
    with pytest.raises(UserError, match=r"3 genotypes, 1, 2, 3; expected .*log.txt@3"):
        load_genotype(file)
    assert load_genotype(f"{file}@1") == load_genotype(first)
    assert load_genotype(f"{file}@3") == ZOO["DARTS_V2"]
    assert genotype_place(f"{file}@3").name == "log_3"
    file.write_text("no genotype in here\n")
    with pytest.raises(UserError, match="log.txt: holds no genotype"):
        load_genotype(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="no text in UTF-8"):
        load_genotype(file)


def test_json_files(tmp_path):
    file = tmp_path / "found.json"
    cell = {"normal": [["none", 0], ["none", 1]], "reduce": [["none", 0], ["none", 1]]}
    write_json(file, cell)
    assert len(load_genotype(file).cells["normal"].nodes) == 1
    with pytest.raises(UserError, match="holds one genotype"):
        load_genotype(f"{file}@2")
    write_json(file, ZOO["GDAS_V1"].to_json())
    assert load_genotype(file) == ZOO["GDAS_V1"]
    write_json(file, [1, 2])
    with pytest.raises(UserError, match="not a genotype"):
        load_genotype(file)


def test_the_genotype_of_an_epoch(tmp_path):
    log = GenotypeLog(tmp_path / "genotype.json")
    log.record(1, ZOO["DARTS_V1"])
    log.record(2, ZOO["DARTS_V2"])
    for where in (tmp_path, log.path):
        assert load_genotype(f"{where}@1") == ZOO["DARTS_V1"]
        with pytest.raises(UserError, match=r"@3: it holds .* epochs 1 to 2; expected"):
            load_genotype(f"{where}@3")
    log.finish(ZOO["PDARTS"])
    assert load_genotype(f"{tmp_path}@2") == ZOO["DARTS_V2"]
    assert load_genotype(tmp_path) == ZOO["PDARTS"]
    assert genotype_place(f"{tmp_path}@2") == tmp_path / "epoch_2"
    other = tmp_path / "a@2"  # a folder of that name is that folder
    other.mkdir()
    GenotypeLog(other / "genotype.json").finish(ZOO["GDAS_V1"])
    assert load_genotype(other) == ZOO["GDAS_V1"]


# --- hostile --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        *("(" * 10**6, "[" * 10**6, "{" * 10**6, "|" * 10**6, "a." * 10**6),
        *("Genotype(" * 10**5, "Genotype(" + "(" * 10**6, "x = " * 10**6),
        *("Genotype(normal=" + "-" * 10**5 + "1)", "Genotype(" + "a.b" * 10**5 + ")"),
        "Genotype(" + "1+" * 20_000 + "1)",
        "|a~1" * 10**6,
        "Genotype(normal=[" + "('none', 0), " * 10**5 + "], reduce=[])",
        "Genotype(normal=[" + "('none', 0), " * 1000 + "], reduce=[])",
        "Genotype(recurrent=[" + "('tanh', 0), " * 1000 + "], concat=[1])",
        '{"normal/op_2_0": ' * 10**5,
        "+".join("|" + f"none~{i}|" for i in range(300)),
        "x" * (MAX_CHARACTERS + 1) + "Genotype(",
    ],
    ids=lambda text: text[:20],
)
def test_hostile_texts_are_refused_soon(text):
    start = time.process_time()
    with pytest.raises(UserError) as caught:
        load_genotype("Genotype(" + text if "Genotype(" not in text else text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000
    assert time.process_time() - start < 60  # it is bounded; not how fast


def test_absurd_sizes_of_our_own_form():
    for cell in (
        {"nodes": [[["none", 0]]] * 1000, "concat": [2]},
        {"nodes": [[["none", 0]] * 1000], "concat": [2]},
        {"nodes": [[["none", 0]]], "concat": [2], "inputs": 10**9},
        {"nodes": [[["none", float("inf")]]], "concat": [2]},
    ):
        with pytest.raises(UserError, match="not a genotype"):
            Genotype.from_json({"space": "x", "cells": {"normal": cell}})
