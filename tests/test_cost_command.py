"""``python -m jdarts.cost``: the table, the file, and errors in one line."""

import dataclasses
import json

import numpy as np
import pytest

from jdarts import Genotype
from jdarts.cli import run_command
from jdarts.cost import main
from jdarts.io import GenotypeLog
from jdarts.io.data_facts import DataFacts
from jdarts.nets.cost import NetworkShape, network_cost, parts
from jdarts.spaces import TOY
from jdarts.spaces.random import random_genotype

SIZES = "--channels 4 --layers 3 --classes 3 --image 8 8 1".split()


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A file with a genotype of the toy space, in the current folder."""
    monkeypatch.chdir(tmp_path)
    genotype = random_genotype(TOY, np.random.default_rng(0))
    (tmp_path / "toy.json").write_text(json.dumps(genotype.to_json()))
    return genotype


def test_table_and_file(toy, capsys, monkeypatch):
    monkeypatch.setattr(
        "jdarts.cost.median_seconds", lambda call, *args: len(args[-1]) * 1e-3
    )
    arguments = ["toy.json", *SIZES, "--batch-size", "4", "--latency"]
    assert main([*arguments, "--json", "out.json"]) == 0
    out = capsys.readouterr().out
    with open("out.json") as file:
        found = json.load(file)
    shape = NetworkShape(channels=4, layers=3, classes=3, image=(8, 8, 1))
    costs = network_cost(toy, shape)
    assert Genotype.from_json(found["genotype"]) == toy
    assert found["network"] == {**dataclasses.asdict(shape), "image": [8, 8, 1]}
    assert [p["parameters"] for p in found["parts"]] == [c.parameters for c in costs]
    kept = [part.kept_bytes() for part in parts(toy, shape, 4)]
    assert [p["kept_bytes"] for p in found["parts"]] == kept
    # node 2 and 3, of width 4, 8 and 16; the first reduction is cell 1
    outputs = [[8, 8, 12], [8, 8, 8], [4, 4, 16], [2, 2, 32], [3]]
    assert [p["output"] for p in found["parts"]] == outputs
    total = found["total"]
    for name in ("parameters", "multiply_adds", "kept_bytes"):
        assert total[name] == sum(p[name] for p in found["parts"])
    # the last argument of the network is the batch of images
    assert total["seconds"] == {"1": 1e-3, "4": 4e-3}
    assert all(p["seconds"].keys() == {"1", "4"} for p in found["parts"])
    assert total["temp_bytes"].keys() == {"1", "4"}
    assert found["device"].startswith("cpu")
    assert found["auxiliary_head"] is None  # 2 x 2 pixels are too few for one
    for part in [*found["parts"], total]:
        line = next(x for x in out.splitlines() if x.strip().startswith(part["name"]))
        assert f"{part['parameters']:,}" in line
    assert line.split()[-2:] == ["1.00", "4.00"]  # milliseconds of the whole network
    assert "ms, batch 1" in out and "ms, batch 4" in out and "cpu (" in out


def test_without_latency_nothing_is_compiled(toy, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("jdarts.cost.compile_timed", None)
    GenotypeLog(tmp_path / "genotype.json").record(1, toy)
    arguments = [".", "--allow-unfinished", "--channels", "4", "--layers", "3"]
    assert main([*arguments, "--json", "out.json"]) == 0
    with open("out.json") as file:
        found = json.load(file)
    assert found["device"] is None and found["total"]["seconds"] == {}
    assert found["auxiliary_head"]["parameters"] > 0
    out = capsys.readouterr().out
    assert "ms" not in out.replace("items", "") and "auxiliary head" in out


def search_folder(path, genotype, **data):
    """The folder of a search, with what it wrote down of its images."""
    path.mkdir()
    settings = {"space": "toy", "channels": 3, "layers": 4, "data": data}
    (path / "config.json").write_text(json.dumps(settings))
    GenotypeLog(path / "genotype.json").finish(genotype)


@pytest.mark.parametrize("which", ["run", "run/genotype.json", "run/seed_1"])
def test_the_network_of_the_runs_own_recipe(toy, tmp_path, capsys, which):
    """Twice the search's channels, its cells, its images: the general recipe."""
    search_folder(tmp_path / "run", toy, name="npz", dir="gone.npz")
    DataFacts(("a", "b", "c"), (16, 8, 2)).write(tmp_path / "run")
    (tmp_path / "run" / "seed_1").mkdir()
    for name in ("config.json", "genotype.json"):
        content = (tmp_path / "run" / name).read_text()
        (tmp_path / "run" / "seed_1" / name).write_text(content)
    (tmp_path / "run" / "seed_1" / "part.txt").write_text("")
    assert main([which, "--json", "out.json"]) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    shape = NetworkShape(channels=6, layers=4, classes=3, image=(16, 8, 2))
    assert found["network"] == {**dataclasses.asdict(shape), "image": [16, 8, 2]}
    costs = network_cost(toy, shape)
    assert found["total"]["parameters"] == sum(c.parameters for c in costs)
    out = capsys.readouterr().out
    size = "6 channels, 4 cells, 3 classes, images of 16 x 8 x 2"
    assert f"network: {size} (of the recipe train_images)" in out


def test_the_network_of_a_data_sets_recipe(toy, tmp_path, capsys):
    """Of a run that was made before runs wrote down what their images are."""
    search_folder(tmp_path / "run", toy, name="digits")
    assert main(["run", "--layers", "5"]) == 0
    size = "8 channels, 5 cells, 10 classes, images of 8 x 8 x 1"
    rest = "(layers as given, the rest of the recipe train_digits)"
    assert f"network: {size} {rest}" in capsys.readouterr().out


def test_a_genotype_without_a_run_is_put_into_the_published_network(capsys, tmp_path):
    assert main(["DARTS_V2", "--json", str(tmp_path / "x.json")]) == 0
    assert "as the DARTS paper trains on CIFAR-10" in capsys.readouterr().out
    found = json.loads((tmp_path / "x.json").read_text())
    assert found["total"]["parameters"] == 3349342  # 3.3 million, as published


@pytest.mark.parametrize(
    "arguments, parts",
    [
        ("", ["Required", "WHICH"]),
        ("none.json", ["none.json", "no file"]),
        ("DARTS_V3", ["unknown 'DARTS_V3'", "did you mean 'DARTS_V"]),
        ("RNN_ENAS", ["types recurrent", "expected normal and reduce"]),
        ("search", ["search: the search is not finished", "--allow-unfinished"]),
        ("empty.json", ["empty.json", "not a genotype"]),
        ("toy.json --chanels 3", ["'--chanels'", "did you mean '--channels'?"]),
        ("toy.json --channels 0", ["--channels: 0", "at least 1"]),
        ("toy.json --layers x", ["--layers", "'x'"]),
        ("toy.json --classes 1", ["--classes: 1", "at least 2"]),
        ("toy.json --batch-size 1", ["--batch-size: 1", "at least 2"]),
        ("toy.json --stem cifr", ["--stem", "did you mean 'cifar'?"]),
        ("toy.json --image 0 8 3", ["--image: 0 8 3", ">= 1"]),
        ("toy.json --image 30 32 3", ["30 x 32 pixels", "4 divides"]),
        (
            "toy.json --json nowhere/x.json",
            ["--json: nowhere/x.json", "no such folder"],
        ),
    ],
)
def test_refused(arguments, parts, toy, capsys, tmp_path):
    (tmp_path / "empty.json").write_text("{}")
    (tmp_path / "search").mkdir()
    GenotypeLog(tmp_path / "search" / "genotype.json").record(1, toy)
    before = sorted(tmp_path.rglob("*"))
    assert run_command(main, arguments.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("error: ")
    assert all(part in err for part in parts), err
    assert sorted(tmp_path.rglob("*")) == before


def test_genotypes_from_elsewhere(toy, capsys):
    """As text: the same figures as of the file."""
    cells = ", ".join(
        f"{kind}={[[tuple(edge) for edge in node] for node in cell.nodes]}, "
        f"{kind}_concat={list(cell.concat)}"
        for kind, cell in toy.cells.items()
    )
    found = []
    for which in ("toy.json", f"Genotype({cells})"):
        assert main([which, *SIZES, "--no-latency"]) == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[1]
