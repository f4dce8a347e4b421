"""Data of one's own, from a sorted file to a trained network; and few cells."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import jdarts.cost
import jdarts.export
import jdarts.search
import jdarts.train
from jdarts import SPACES, load_genotype
from jdarts.cli import run_command
from jdarts.data import DataConfig, load
from jdarts.io import read_json, read_metrics, write_json
from jdarts.io.data_facts import DataFacts

SIZE = "--channels 2 --layers 1 --batch-size 8 --epochs 1 --data.limit 120".split()
FIRST = ["--method.hypergradient.name", "first_order"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """40 images of each of three classes, in order, as a file; and a search on them, of
    one cell, which is a reduction."""
    root = tmp_path_factory.mktemp("own")
    images = np.random.default_rng(0).integers(0, 256, (120, 8, 8, 3), np.uint8)
    labels = np.repeat([0, 1, 2], 40)
    images[np.arange(120), labels] //= 4  # something to see
    np.savez(root / "birds.npz", train_images=images, train_labels=labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        data = ["--data.name", "npz", "--data.dir", "birds.npz"]
        assert run_command(jdarts.search.main, ["smoke", *data, *SIZE, *FIRST]) == 0
        yield root


def test_the_halves_have_every_class(place):
    run = place / "runs" / "smoke_birds"
    row = read_metrics(run / "metrics.jsonl")[-1]
    assert row["majority_accuracy"] == pytest.approx(1 / 3)
    images = load(DataConfig("npz", Path("birds.npz"), limit=120))
    assert read_json(run / "data.json") == {
        "classes": ["0", "1", "2"],
        "image": [8, 8, 3],
        "digest": images.digest,
    }


def test_only_cells_that_the_network_has_are_found(place):
    run = place / "runs" / "smoke_birds"
    assert set(load_genotype(run).cells) == {"reduce"}
    assert {path.name for path in run.glob("cell_*")} == {"cell_reduce.svg"}
    for file in ("summary.txt", "report.html"):
        text = (run / file).read_text()
        assert "reduce cell" in text.lower() and "normal cell" not in text.lower()
    (row,) = read_metrics(run / "arch.jsonl")
    assert all(set(row[part]) <= {"reduce"} for part in ("alpha", "beta", "mix"))
    assert "skips_normal" not in read_metrics(run / "metrics.jsonl")[-1]


def test_it_is_trained_by_the_general_recipe(place, capsys):
    run = place / "runs" / "smoke_birds"
    assert run_command(jdarts.train.main, [str(run), "--epochs", "1"]) == 0
    out = capsys.readouterr().out
    assert "valid accuracy" in out and "lowest accuracy by class" in out
    result = read_json(run / "train_images" / "result.json")
    assert result["evaluated_on"] == "valid"
    assert result["classes"]["images"] == [20, 20, 20]
    config = read_json(run / "train_images" / "config.json")
    assert (config["channels"], config["layers"], config["epochs"]) == (4, 1, 1)
    assert config["data"]["dir"] == "birds.npz" and not config["data"]["flip"]
    page = (run / "report.html").read_text()  # written again
    first = page.index("Validation accuracy of the found cell")
    assert first < page.index("Supernet accuracy")
    own = (run / "train_images" / "report.html").read_text()
    assert "Confusion matrix" in own and "Accuracy by class" in own


def test_a_validation_part_judges_a_training(place, capsys):
    """The same images as a test part alone are worth the same to the trained network;
    what is said by class adds up to the whole."""
    run = place / "runs" / "smoke_birds"
    with np.load(place / "birds.npz") as file:
        images, labels = file["train_images"], file["train_labels"]
    held, part = slice(0, None, 3), {"train_images": images, "train_labels": labels}
    valid = {"valid_images": images[held], "valid_labels": labels[held]}
    np.savez(place / "parts.npz", **part, **valid)
    np.savez(place / "test.npz", test_images=images[held], test_labels=labels[held])
    folder = str(place / "judged")
    given = [str(run), "--data.name", "npz", "--evaluate-on"]
    size = ["--epochs", "1", "--batch-size", "40", "--run-dir", folder]
    train = [*given, "valid", *size, "--data.dir", "parts.npz"]
    assert run_command(jdarts.train.main, train) == 0
    assert (
        "trained on 120, evaluated on 40 validation images" in capsys.readouterr().out
    )
    result = read_json(place / "judged" / "result.json")
    assert result["evaluated_on"] == "valid" and result["images"] == 40
    assert sum(result["classes"]["images"]) == 40
    accuracy = f"accuracy {100 * sum(result['classes']['correct']) / 40:.2f} %"
    for more in (
        ["valid", "--data.dir", "parts.npz"],
        ["test", "--data.dir", "test.npz"],
    ):
        command = [*given, *more, *size, "--data.eval-only"]
        assert run_command(jdarts.train.main, command) == 0
        out = capsys.readouterr().out
        assert f"{more[0]} {accuracy}" in out and "lowest accuracy by class" in out


def test_a_network_is_used_with_its_own_classes_only(place, capsys):
    """Evaluated, gone on with and exported; the names of the run stay its own. Numbers
    are no names."""
    run = place / "runs" / "smoke_birds" / "train_images"
    own = {"npz": "birds.npz"}
    facts = DataFacts.read(run)
    named = dataclasses.replace(facts, classes=("finch", "owl", "tit"))
    pixels = np.random.default_rng(1).integers(0, 256, (60, 8, 8), np.uint8)
    for folder, names in {
        "same": ["finch", "owl", "tit"],
        "renamed": ["finch", "gull", "tit"],
        "moved": ["owl", "tit", "wren"],
        "fewer": ["finch", "owl"],
        "more": ["finch", "owl", "tit", "wren"],
    }.items():
        own[folder] = folder
        for i in range(60):
            path = place / folder / names[i % len(names)] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(pixels[i]).save(path)
    named.write(run)
    for folder, source in own.items():
        good = folder in ("npz", "same")
        kind = "npz" if folder == "npz" else "image_folder"
        data = ["--data.name", kind, "--data.dir", source, "--batch-size", "8"]
        data += ["--data.limit", "50"]
        given = [str(run), "--data.eval-only", *data]
        assert run_command(jdarts.train.main, given) == (0 if good else 2)
        error = capsys.readouterr().err
        assert good or "finch, owl, tit" in error and error.count("\n") == 1
        assert good or f"error: {folder}: has " in error
    config = read_json(run / "config.json")
    for folder in ("same", "renamed"):
        other = {"name": "image_folder", "dir": folder, "limit": 60}
        write_json(run / "config.json", config | {"data": config["data"] | other})
        out = place / f"out_{folder}"
        status = run_command(jdarts.export.main, [str(run), "--out", str(out)])
        assert status == (0 if folder == "same" else 2)
        assert out.exists() == (folder == "same")
    assert "number 1 is 'gull', not 'owl'" in capsys.readouterr().err
    names = read_json(place / "out_same" / "export.json")["class_names"]
    assert names == ["finch", "owl", "tit"]
    assert run_command(jdarts.train.main, [str(run)]) == 2
    assert "its contents have changed" in capsys.readouterr().err
    assert DataFacts.read(run) == named
    write_json(run / "config.json", config)
    facts.write(run)


def test_its_cost_is_that_of_its_own_network(place, capsys):
    assert run_command(jdarts.cost.main, [str(place / "runs" / "smoke_birds")]) == 0
    out = capsys.readouterr().out
    assert "network: 4 channels, 1 cell, 3 classes, images of 8 x 8 x 3" in out


@pytest.mark.parametrize("more", [["--layers", "3"], ["--layers", "20"]])
def test_a_network_that_needs_another_cell_is_refused(place, capsys, more):
    run = str(place / "runs" / "smoke_birds")
    assert run_command(jdarts.train.main, [run, *more]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"--layers: {more[1]} cells" in error
    assert "has only reduce cells; expected --layers 1 or 2, or a genotype" in error


def test_another_search_in_the_folder_gets_a_free_name(place, capsys):
    data = ["--data.name", "npz", "--data.dir", "birds.npz"]
    other = [*SIZE, *FIRST, "--log-every", "3"]
    assert run_command(jdarts.search.main, ["smoke", *data, *other]) == 2
    error = capsys.readouterr().err
    assert "--run-dir runs/smoke_birds-2" in error and error.count("\n") == 1


@pytest.mark.parametrize("name", [n for n, s in SPACES.items() if s.task == "images"])
@pytest.mark.parametrize("layers", [1, 2, 3, 8])
def test_the_kinds_of_every_space(name, layers):
    """Against the layout itself."""
    space = SPACES[name]
    kinds = space.kinds(layers)
    assert set(kinds) == set(space.layout(layers)) & set(space.cells)
    assert list(kinds) == [kind for kind in space.cells if kind in kinds]
    json.dumps(kinds)
