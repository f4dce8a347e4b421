"""What runs are called that have been given no name."""

from pathlib import Path

import pytest

from jdarts.cli import parse_search
from jdarts.config import config_names
from jdarts.data import DATASETS, TEXTS


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ("", "digits"),
        ("--epochs 3 --space darts_cnn_7", "digits"),
        ("smoke", "smoke"),
        ("--data.name image_folder --data.dir a/flowers/", "flowers"),
        ("--data.name image_folder --data.dir a/my~flowers/.", "my_flowers"),
        ("--data.name image_folder --data.dir a/flowers.v2", "flowers_v2"),
        ("--data.name npz --data.dir a/faces.v2.npz", "faces_v2"),
        ("--data.name=npz --data.dir=faces.npz --name=mine", "mine"),
        ("--data.name npz --data.dir faces.npz --name digits", "digits"),
        ("--data.name cifar10 --data.dir faces", "cifar10"),
        ("--data.name tfds:mnist/x:3.0.1 --data.dir faces", "tfds_mnist_x_3_0_1"),
        ("smoke --data.name npz --data.dir faces.npz", "smoke_faces"),
        ("darts_cifar10 --data.dir faces", "darts_cifar10"),
        ("darts_cifar10 --data.name npz --data.dir faces.npz", "darts_cifar10_faces"),
        ("rnn_demo --data.name file --data.dir a/book.txt", "rnn_demo_book"),
        ("darts_ptb --data.name wikitext2 --data.dir a", "darts_ptb_wikitext2"),
    ],
)
def test_names(arguments, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ["flowers", "my~flowers", "flowers.v2"]:
        (tmp_path / "a" / folder).mkdir(parents=True)
    for file in ["faces.npz", "a/faces.v2.npz", "a/book.txt"]:
        (tmp_path / file).touch()
    command = parse_search(arguments.split())
    assert command.config.name == name
    assert command.run_dir == Path("runs") / name


def test_a_folder_that_is_given_stays(tmp_path):
    arguments = ["--data.name", "npz", "--data.dir", "x.npz", "--run-dir", "there"]
    assert str(parse_search(arguments).run_dir) == "there"


def test_here(tmp_path, monkeypatch):
    (tmp_path / "birds").mkdir()
    monkeypatch.chdir(tmp_path / "birds")
    data = ["--data.name", "image_folder", "--data.dir", "."]
    assert parse_search(data).config.name == "birds"


@pytest.mark.parametrize("which", config_names())
def test_other_data_have_other_folders(which):
    """Whatever the configuration: its own name is taken by its own data."""
    base = parse_search([which]).config
    rows = TEXTS if base.data.name in TEXTS else DATASETS
    names = set()
    for row in rows:
        name = row.replace("NAME", "mine")
        data = ["--data.dir", "d"] if rows[row].dir else []
        names.add(parse_search([which, "--data.name", name, *data]).config.name)
    own = sum(row.own for row in rows.values())  # "d" may name several
    assert base.name in names and len(names) >= len(rows) - own
