"""The published genotypes: sizes of their networks, and where genotypes come from."""

import json

import pytest

from jdarts import ZOO, Genotype, UserError, load_genotype
from jdarts.io import GenotypeLog
from jdarts.ops import OPS
from jdarts.spaces import zoo_genotype

CNN = {name: g for name, g in ZOO.items() if "normal" in g.cells}


def test_every_published_architecture_is_there():
    published = """NASNet_A AmoebaNet_A DARTS_V1 DARTS_V2 PC_DARTS_cifar PC_DARTS_image
    PDARTS NASP_12op NASP_7op_StarLight GDAS_V1 GDAS_F1_fixed_reduction SNAS_mild
    SNAS_moderate SNAS_aggressive DrNAS_cifar10 DrNAS_imagenet SGAS_Cri1_C10_best
    SGAS_Cri2_C10_best FairDARTS_a FairDARTS_b RNN_ENAS RNN_DARTS_V1 RNN_DARTS_V2"""
    assert set(ZOO) == set(published.split())


@pytest.mark.parametrize("name", ZOO)
def test_well_formed(name):
    genotype = ZOO[name]
    for cell in genotype.cells.values():
        cell.check()
        assert cell.connections
    assert Genotype.from_json(json.loads(json.dumps(genotype.to_json()))) == genotype
    if name in CNN:
        used = {
            c.primitive for cell in genotype.cells.values() for c in cell.connections
        }
        assert used <= set(OPS)


def test_a_cell_by_hand():
    """DARTS, second order, as its paper draws it."""
    normal = ZOO["DARTS_V2"].cells["normal"]
    assert normal.nodes[3] == (("skip_connect", 0), ("dil_conv_3x3", 2))
    assert normal.concat == (2, 3, 4, 5) and normal.inputs == 2
    assert ZOO["RNN_DARTS_V2"].cells["recurrent"].nodes[0] == (("sigmoid", 0),)


def test_unknown_name():
    with pytest.raises(UserError, match="did you mean 'DARTS_V2'"):
        zoo_genotype("DARTS_V3")
    with pytest.raises(UserError, match="did you mean 'PDARTS'"):
        load_genotype("P_DARTS")


# --- files and runs -------------------------------------------------------------------


def test_names_files_and_runs(tmp_path):
    genotype = ZOO["GDAS_V1"]
    assert load_genotype("GDAS_V1") == genotype
    file = tmp_path / "found.json"
    file.write_text(json.dumps(genotype.to_json()))
    assert load_genotype(file) == genotype
    GenotypeLog(tmp_path / "genotype.json").finish(genotype)
    assert load_genotype(tmp_path) == genotype
    assert load_genotype(tmp_path / "genotype.json") == genotype


def test_an_unfinished_search_only_when_asked(tmp_path):
    log = GenotypeLog(tmp_path / "genotype.json")
    for epoch, name in ((1, "DARTS_V1"), (2, "DARTS_V2")):
        log.record(epoch, ZOO[name])
    with pytest.raises(UserError, match="not finished .last epoch: 2.*unfinished"):
        load_genotype(tmp_path)
    assert load_genotype(tmp_path, allow_unfinished=True) == ZOO["DARTS_V2"]


def bad(data):
    cell = {"nodes": [[["skip_connect", 0]]], "concat": [2]} | data
    return {"space": "toy", "cells": {"normal": cell, "reduce": cell}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not a genotype"),
        (json.dumps(bad({"nodes": [[["skip_connect", 2]]]})), "reads node 2"),
        (json.dumps(bad({"nodes": [[["skip_connect", -1]]]})), "reads node -1"),
        (json.dumps(bad({"concat": [2, 3]})), "concat names node 3, expected 2 to 2"),
        (json.dumps(bad({"concat": [1]})), "concat names node 1"),
        (json.dumps(bad({"concat": []})), "concat names no node"),
        ('{"final": null, "epochs": []}', "no genotype yet"),
    ],
)
def test_bad_files(tmp_path, content, message):
    file = tmp_path / "genotype.json"
    file.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        load_genotype(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_folders_without_a_genotype(tmp_path):
    with pytest.raises(UserError, match="holds no genotype.json"):
        load_genotype(tmp_path)
    (tmp_path / "seed_3").mkdir()
    with pytest.raises(UserError, match="one of them, as .*seed_3"):
        load_genotype(tmp_path)
