"""What a run says of its images."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from jdarts import UserError
from jdarts.data import DataConfig, load
from jdarts.io import RunFolder
from jdarts.io.data_facts import DataFacts


def test_there_and_back(tmp_path):
    """Also of a part of the run, which has none itself."""
    images = np.zeros((6, 8, 9, 3), np.uint8)
    np.savez(tmp_path / "x.npz", train_images=images, train_labels=[0, 1, 2] * 2)
    loaded = load(DataConfig("npz", tmp_path / "x.npz"))
    facts = DataFacts.of(loaded)
    assert facts == DataFacts(("0", "1", "2"), (8, 9, 3), loaded.digest)
    with RunFolder.open(tmp_path / "run", {}) as folder:
        assert DataFacts.read(folder.path) is None
        facts.write(folder.path)
        assert DataFacts.read(folder.part("seed_1", {}).path) == facts
    assert DataFacts.read(tmp_path / "run") == facts
    assert DataFacts.read(tmp_path / "none") is None
    old = dataclasses.replace(facts, digest=None)  # as an earlier version wrote it
    old.write(tmp_path / "run")
    assert set(json.loads((tmp_path / "run" / "data.json").read_text())) == {
        "classes",
        "image",
    }
    assert DataFacts.read(tmp_path / "run") == old


@pytest.mark.parametrize(
    "data",
    [
        [],
        None,
        {},
        {"classes": "ab", "image": [8, 8, 3]},
        {"classes": [], "image": [8, 8, 3]},
        {"classes": [1], "image": [8, 8, 3]},
        {"classes": ["a"], "image": [8, 8]},
        {"classes": ["a"], "image": [8, 0, 3]},
        {"classes": ["a"], "image": [8, 8, 3.0]},
        {"classes": ["a"], "image": None},
        {"classes": ["a"], "image": [8, 8, 3], "digest": 3},
    ],
    ids=str,
)
def test_damaged(tmp_path, data):
    (tmp_path / "data.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match="data.json: not a description of images"):
        DataFacts.read(tmp_path)


@pytest.mark.parametrize(
    ("there", "here", "good"),
    [
        ("ant bee", "ant bee", True),
        ("ant bee", "0 1", True),  # a file of arrays has no names
        ("0 1", "ant bee", True),
        ("ant bee", "bee ant", False),
        ("ant bee", "ant", False),
        ("0 1 2", "0 1 2", True),
        ("0 1 2", "0 1 5", False),
        ("0 1 10 2", "0 1 2 10", False),  # sorted as words, and as numbers
    ],
)
def test_classes_of_another_order_are_refused(tmp_path, there, here, good):
    facts = DataFacts(tuple(there.split()), (8, 8, 1), None)
    images = SimpleNamespace(class_names=here.split(), source="x")
    if good:
        facts.check_classes(images, tmp_path)
    else:
        with pytest.raises(UserError, match="x: has . classes? .* in the same order"):
            facts.check_classes(images, tmp_path)
