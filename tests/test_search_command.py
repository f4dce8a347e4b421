"""Everything a user can get wrong before a search begins: one line, nothing written."""

import dataclasses
import os
from types import SimpleNamespace

import numpy as np
import pytest

from jdarts import SPACES, Genotype
from jdarts.cli import run_command
from jdarts.loops.measures import IMAGES, with_cost, with_table
from jdarts.loops.search import SearchResult
from jdarts.search import main, population_summary, summary
from jdarts.spaces import TOY, CellGenotype, Connection
from jdarts.spaces.random import random_genotype


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """``refused(*arguments)``: the error; nothing else was said or written."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        before = sorted(tmp_path.rglob("*"))
        assert run_command(main, list(arguments)) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1 and err.startswith("error: "), err
        assert "Traceback" not in err
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return run


HYPER = "--method.hypergradient"
WEIGHTS, ARCH = "--method.weights", "--method.arch"


@pytest.mark.parametrize(
    "arguments, parts",
    [
        # names
        ("smok", ["configuration: unknown 'smok'", "did you mean 'smoke'?"]),
        ("smoke.py", ["smoke.py: no such configuration file"]),
        ("smoke.json", ["smoke.json: cannot be read"]),
        ("smoke --epoch 3", ["unknown '--epoch'", "did you mean '--epochs'?"]),
        ("smoke --method dart", ["unknown 'dart'", "did you mean 'darts'?"]),
        ("smoke --space toi", ["unknown 'toi'", "did you mean 'toy'?"]),
        ("smoke --data.name cifar", ["--data.name", "did you mean 'cifar10'?"]),
        (
            f"smoke {HYPER}.name unroled",
            ["hypergradient.name", "did you mean 'unrolled'?"],
        ),
        (f"smoke {HYPER}.mode forwards", ["mode", "did you mean 'forward'?"]),
        ("smoke --name a/b", ["--name: 'a/b'"]),
        # values of the wrong type, or missing
        ("smoke --epochs abc", ["epochs", "abc"]),
        ("smoke --epochs 2.5", ["epochs", "2.5"]),
        ("smoke --data.valid-fraction half", ["valid-fraction", "half"]),
        ("smoke --epochs", ["--epochs"]),
        ("smoke --method", ["--method: no value given"]),
        ("smoke digits", ["digits"]),
        # sizes out of range
        ("smoke --channels 0", ["--channels: 0; expected", ">= 1"]),
        ("smoke --channels -1", ["--channels: -1; expected", ">= 1"]),
        ("smoke --layers 0", ["--layers: 0; expected", ">= 1"]),
        ("smoke --epochs -3", ["--epochs: -3; expected", ">= 1"]),
        ("smoke --batch-size 0", ["--batch-size: 0; expected", ">= 1"]),
        ("smoke --log-every 0", ["--log-every: 0; expected", ">= 1"]),
        ("smoke --seed -1", ["--seed: -1; expected 0 to"]),
        ("smoke --seeds", ["--seeds: none given", "--seeds 0 1 2"]),
        ("smoke --seeds 1 3 1", ["--seeds: 1 is given twice"]),
        ("smoke --seeds 1 -1", ["--seeds: -1; expected 0 to"]),
        ("smoke --seeds 1 a", ["--seeds", "'a'"]),
        ("smoke --seed 1 --seeds 2 3", ["--seeds: given together with --seed 1"]),
        ("smoke --steps 0", ["--steps: 0; expected", ">= 1"]),
        ("smoke --checkpoint-minutes 0", ["--checkpoint-minutes: 0", "more than 0"]),
        ("smoke --checkpoint-minutes nan", ["--checkpoint-minutes: nan"]),
        ("smoke --data.limit 0", ["--data.limit: 0", ">= 1"]),
        ("smoke --data.limit 9999", ["--data.limit: 9999", "1437"]),
        ("smoke --data.valid-fraction 1", ["--data.valid-fraction: 1.0"]),
        ("smoke --data.crop-padding -1", ["--data.crop-padding: -1", ">= 0"]),
        ("smoke --data.cutout 8", ["--data.cutout: 8", "less than 8"]),
        ("smoke --batch-size 257", ["--batch-size: 257", "256"]),
        (f"smoke {HYPER}.steps 0", ["hypergradient.steps: 0", "at least 1"]),
        (f"smoke {HYPER}.steps -1", ["hypergradient.steps: -1"]),
        (f"smoke {WEIGHTS}.lr 0", ["--method.weights.lr: 0.0", "more than 0"]),
        (f"smoke {WEIGHTS}.lr nan", ["--method.weights.lr: nan"]),
        (f"smoke {WEIGHTS}.lr-min 1", ["--method.weights.lr-min: 1.0"]),
        (f"smoke {WEIGHTS}.momentum 1", ["--method.weights.momentum: 1.0"]),
        (f"smoke {WEIGHTS}.clip -1", ["--method.weights.clip: -1.0"]),
        (f"smoke {ARCH}.lr 0", ["--method.arch.lr: 0.0"]),
        (f"smoke {ARCH}.b1 1", ["--method.arch.b1: 1.0"]),
        ("smoke --method.init-scale -1", ["--method.init-scale: -1.0"]),
        # options without effect
        (
            f"smoke {HYPER}.name first_order {HYPER}.steps 2",
            ["hypergradient.steps: has no effect with 'first_order'"],
        ),
        (
            f"smoke {HYPER}.radius 0.1",
            ["radius: has no effect with 'unrolled'", "steps or mode"],
        ),
        (
            f"smoke {HYPER}.name finite_difference {HYPER}.mode forward",
            ["mode: has no effect with 'finite_difference'", "radius"],
        ),
        (
            f"smoke {HYPER}.name first_order --method.clip-virtual",
            ["--method.clip-virtual: has no effect with 'first_order'"],
        ),
        ("smoke --data.dir .", ["--data.dir", "'digits' needs no files"]),
        # robustness
        ("smoke --max-skips 4", ["--max-skips: 4", "gets 4 connections"]),
        ("smoke --drop-path.rate 1", ["--drop-path.rate: 1.0", "less than 1"]),
        ("smoke --drop-path.growth constant", ["growth: has no effect"]),
        ("smoke --drop-path.growth up", ["growth: unknown 'up'", "linear"]),
        ("smoke --drop-path.rate 0.1 --epochs 1", ["rate: has no effect", "constant"]),
        ("smoke --curvature.stop 1.3", ["--curvature.stop: has no effect"]),
        ("rnn_demo --curvature.every 1", ["unknown '--curvature.every'"]),
        (f"smoke {WEIGHTS}.weight-decay-last 3e-4", ["weight-decay-last: 0.0003, as"]),
        (
            f"smoke {WEIGHTS}.weight-decay-last 1e-3 --epochs 1",
            ["weight-decay-last: has no effect with --epochs 1"],
        ),
        # data that are not there
        ("darts_cifar10", ["--data.dir: not given", "cifar-10-batches"]),
        ("darts_cifar10 --data.dir none", ["none: no such file or folder"]),
        ("smoke --data.classes 12", ["--data.classes", "fewer classes"]),
    ],
)
def test_wrong_arguments(refused, arguments, parts):
    said = refused(*arguments.split())
    for part in parts:
        assert part in said


# --- data ---


def cifar(folder, record=3073, label=1, cut=0):
    """CIFAR-10 batches of 4 images in records of that many bytes."""
    folder = folder / "cifar-10-batches-bin"
    folder.mkdir()
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        content = (bytes([label]) + bytes(record - 1)) * 4
        (folder / f"{name}.bin").write_bytes(content[: len(content) - cut])


def npz(folder, side=8, labels=(0, 1)):
    images = np.random.default_rng(0).integers(0, 256, (64, side, side, 1), np.uint8)
    labels = np.resize(labels, 64)
    np.savez(
        folder / "data.npz",
        train_images=images,
        train_labels=labels,
        test_images=images[:2],
        test_labels=labels[:2],
    )


CIFAR = "darts_cifar10 --data.dir . --batch-size 2"
NPZ = "smoke --data.name npz --data.dir data.npz --data.limit 64"


@pytest.mark.parametrize(
    "make, arguments, parts",
    [
        (lambda folder: None, CIFAR, ["an empty folder", "cifar-10-batches-bin"]),
        (lambda f: cifar(f, cut=100), CIFAR, ["data_batch_1.bin", "cut short", "3073"]),
        (lambda f: cifar(f, record=3072), CIFAR, ["data_batch_1.bin", "3073"]),
        (
            lambda f: cifar(f, label=10),
            CIFAR,
            ["data_batch_1.bin", "label 10", "0 to 9"],
        ),
        (npz, f"{NPZ} --data.classes 3", ["data.npz has 2 classes", "expected 3"]),
        (lambda f: npz(f, labels=(0, -1)), NPZ, ["data.npz", "-1"]),
        (npz, f"{NPZ} --batch-size 33", ["--batch-size: 33", "32"]),
        (
            lambda f: npz(f, side=9),
            NPZ,
            ["images: 9 x 9 pixels", "2 reductions", "4 divides"],
        ),
        (
            lambda f: npz(f, side=6),
            f"{NPZ} --space darts_cnn",
            ["images: 6 x 6 pixels", "4 divides"],
        ),
    ],
)
def test_wrong_data(refused, tmp_path, make, arguments, parts):
    make(tmp_path)
    said = refused(*arguments.split())
    for part in parts:
        assert part in said


def test_a_run_folder_stays_as_it_was(refused, tmp_path):
    """Wrong data are found before a folder that is there already is touched."""
    npz(tmp_path, side=9)
    (tmp_path / "run").mkdir()
    refused(*NPZ.split(), "--run-dir", "run")
    assert os.listdir(tmp_path / "run") == []


# --- spaces ---


def test_an_unknown_primitive(refused, monkeypatch):
    cells = {
        kind: dataclasses.replace(cell, primitives=("none", "sep_conv_3x4"))
        for kind, cell in TOY.cells.items()
    }
    wrong = dataclasses.replace(TOY, name="wrong", cells=cells)
    monkeypatch.setitem(SPACES, "wrong", wrong)
    said = refused("smoke", "--space", "wrong")
    assert "primitive: unknown 'sep_conv_3x4'; did you mean 'sep_conv_3x3'?" in said


# --- the summary ---


def test_summary_without_accuracy():
    """A run that was stopped before its first epoch's end has none."""
    cell = CellGenotype(((Connection("skip_connect", 0),),), (2,))
    genotype = Genotype("toy", {"normal": cell})
    result = SimpleNamespace(
        steps=3, measured={}, early=None, genotype=genotype, gaps=()
    )
    text = summary(SimpleNamespace(name="x", seed=4), result)
    assert "accuracy" not in text and "3 steps, seed 4" in text
    assert "skip_connect(c_{k-2})" in text


def test_true_accuracies_are_said():
    """In the epoch's line, the summary, and the table of several seeds."""
    measures = with_table(IMAGES)
    row = {"epoch_train_loss": 1.0, "epoch_valid_loss": 2.0, "supernet_accuracy": 0.5}
    row |= {"majority_accuracy": 0.1, "table_test_accuracy": 0.9321, "regret": 0.0116}
    row |= {"table_mean_test_accuracy": 0.8706}
    line = measures.line(row)
    assert line.endswith(", derived cell: true accuracy 93.21 %, regret 1.16")
    assert measures.sentence(row).startswith(
        "true test accuracy of the derived cell: 93.21 %, regret 1.16 points below the "
        "best cell (mean of all cells: 87.06 %)\nsupernet accuracy"
    )
    assert measures.columns(row) == pytest.approx(
        {"true": 93.21, "regret": 1.16, "accuracy": 50.0}
    )
    assert "regret: points below" in measures.heading(row)


def test_columns_are_as_wide_as_their_figures():
    """A cost has more digits than its head has letters."""
    measures = with_cost(IMAGES, lambda row: f"{row['derived_cost']:g}")
    genotype = random_genotype(TOY, np.random.default_rng(0))
    results = [
        SearchResult(
            seed=seed,
            folder=SimpleNamespace(path="run"),
            genotype=genotype,
            measured={
                "supernet_accuracy": 0.5,
                "majority_accuracy": 0.1,
                "skips_normal": seed,
                "derived_cost": cost,
            },
            measures=measures,
            steps=8,
        )
        for seed, cost in ((1, 1234567.0), (22, 3.0))
    ]
    text = population_summary(SimpleNamespace(name="costs"), results)
    table = text.split("\n\n")[1].splitlines()
    assert table[:3] == [
        "seed  accuracy  normal        cost",
        "   1     50.00    1.00  1234567.00",
        "  22     50.00   22.00        3.00",
    ]
    assert [line.split()[0] for line in table[3:]] == ["mean", "std"]
