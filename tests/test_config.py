"""Configurations: shipped ones, files of one's own, JSON there and back."""

import dataclasses
import json
from pathlib import Path

import pytest

import jdarts.compare
from jdarts import METHODS, DartsConfig, HypergradientConfig, UserError
from jdarts.config import (
    SearchConfig,
    config_names,
    from_json,
    load_config,
    run_name,
    to_json,
)
from jdarts.config_fields import renewed
from jdarts.data import DATASETS, DataConfig, TextConfig
from jdarts.io import RunFolder, read_json, write_json
from jdarts.methods.optimizers import ArchOptimizer, WeightOptimizer
from jdarts.nets.recurrent import Dropout
from jdarts.text_config import TextSearchConfig
from jdarts.train_config import TrainConfig, recipe_from_json, recipe_to_json

SHIPPED = sorted(config_names())


METHOD = DartsConfig(
    HypergradientConfig("unrolled", 2, "reverse"),
    WeightOptimizer(1.0, 0.5, 0.1, 0.2, 0.3),
    ArchOptimizer(0.4, 0.6, 0.7, 0.8),
    init_scale=0.9,
    clip_virtual=True,
)
COMMON = {"name": "other", "steps": 7, "checkpoint_minutes": 0.5, "method": METHOD}
OWN = {
    SearchConfig: {
        "space": "toy",
        "compute_dtype": "bfloat16",
        "data": DataConfig(
            "npz", Path("some/x.npz"), 3, 4, 0.25, "file_order", 1, False, 2
        ),
    },
    TextSearchConfig: {
        "space": "toy_rnn",
        "units": 5,
        "dropout": Dropout(0.1, 0.2, 0.3, 0.4, 0.5),
        "data": TextConfig("file", Path("some/x.txt"), "character"),
    },
}


def different(config):
    """A configuration in which little has its default."""
    return dataclasses.replace(config, **COMMON, **OWN[type(config)])


def test_shipped():
    assert {"digits", "smoke", "darts_cifar10"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_json_there_and_back(name):
    for config in (load_config(name), different(load_config(name))):
        data = json.loads(json.dumps(to_json(config)))
        assert from_json(data) == config
        assert data["method"]["name"] in METHODS


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_are_documents(name):
    """What it reproduces, and the exact command."""
    text = config_names()[name].read_text()
    assert "Reproduces" in text and "python -m jdarts.search" in text
    assert load_config(str(config_names()[name])) == load_config(name)


def test_one_seed_or_several():
    assert SearchConfig().seed == 2 and SearchConfig().seeds is None
    several = SearchConfig(seeds=(3, 1))
    assert several.seed is None and several.all_seeds == (3, 1)
    assert from_json(json.loads(json.dumps(to_json(several)))) == several
    assert several.with_seed(1) == SearchConfig(seed=1)
    assert SearchConfig(seeds=(1,)) == SearchConfig(seed=1)
    assert SearchConfig(seed=1).all_seeds == (1,)
    # A folder of one seed does not mention the other field.
    assert "seeds" not in to_json(SearchConfig()) and "seed" not in to_json(several)


def test_missing_fields_have_their_defaults():
    assert from_json({}) == SearchConfig()
    found = from_json({"data": {"limit": 3}, "method": {"arch": {"lr": 1}}})
    assert found == SearchConfig(
        data=DataConfig(limit=3), method=DartsConfig(arch=ArchOptimizer(lr=1.0))
    )


@pytest.mark.parametrize(
    "data, parts",
    [
        ([], ["not a configuration"]),
        ({"epoch": 1}, ["field: unknown 'epoch'", "did you mean 'epochs'?"]),
        ({"data": {"dirr": "x"}}, ["data: field", "did you mean 'dir'?"]),
        ({"data": 3}, ["data: found 3", "JSON object"]),
        ({"method": "darts"}, ["method: found 'darts'", "JSON object"]),
        ({"method": {"name": "dartz"}}, ["unknown 'dartz'", "did you mean 'darts'?"]),
        ({"method": {"weigths": {}}}, ["method: field", "did you mean 'weights'?"]),
        ({"epochs": "3"}, ["epochs: found '3', expected int"]),
        ({"epochs": True}, ["epochs: found True, expected int"]),
        ({"epochs": 2.5}, ["epochs: found 2.5, expected int"]),
        ({"steps": "3"}, ["steps: found '3', expected int or NoneType"]),
        ({"data": {"flip": 1}}, ["data: flip: found 1, expected bool"]),
        ({"method": {"init_scale": None}}, ["init_scale: found None, expected float"]),
        ({"seed": 1, "seeds": [2, 3]}, ["--seeds: given together with --seed 1"]),
        ({"seeds": []}, ["--seeds: none given"]),
        ({"seeds": [4, 3, 4]}, ["--seeds: 4 is given twice"]),
        ({"seeds": [1, -1]}, ["--seeds: -1; expected 0 to 4294967295"]),
        ({"seeds": [1, 2.5]}, ["seeds: found 2.5, expected int"]),
        ({"seeds": 3}, ["seeds: found 3, expected tuple or NoneType"]),
        ({"epochs": 0}, ["--epochs: 0; expected a whole number >= 1"]),
        ({"space": "toi"}, ["unknown 'toi'", "did you mean 'toy'?"]),
        ({"compute_dtype": "float16"}, ["--compute-dtype: unknown", "'bfloat16'?"]),
    ],
)
def test_wrong_json(tmp_path, data, parts):
    path = tmp_path / "c.json"
    path.write_text(json.dumps(data))
    with pytest.raises(UserError) as error:
        load_config(str(path))
    for part in parts:
        assert part in str(error.value)


GOOD = "from jdarts.config import SearchConfig\n"


@pytest.mark.parametrize(
    "name, text, parts",
    [
        ("c.json", "{", ["not JSON"]),
        ("c.json", "\x00\x80", ["not JSON"]),
        ("c.json", None, ["cannot be read"]),
        ("c.py", None, ["no such configuration file"]),
        ("c.py", "x = (", ["SyntaxError", "get_config()"]),
        ("c.py", "raise ValueError('so\\nwhat')", ["ValueError: so what"]),
        ("c.py", "import nonsuch", ["nonsuch", "get_config()"]),
        ("c.py", "x = 1", ["get_config"]),
        ("c.py", "def get_config(): return 3", ["gave int, expected SearchConfig"]),
        ("c.py", "def get_config(): return 1 / 0", ["ZeroDivisionError"]),
        (
            "c.py",
            GOOD + "def get_config(): return SearchConfig(epochs=0)",
            ["--epochs: 0"],
        ),
        (
            "c.py",
            GOOD + "def get_config(): return SearchConfig(epochs=2.5)",
            ["c.py: epochs: found 2.5, expected int"],
        ),
        (
            "c.py",
            GOOD + "def get_config(): return SearchConfig(epoch=2)",
            ["TypeError", "epoch"],
        ),
    ],
)
def test_wrong_files(tmp_path, name, text, parts):
    path = tmp_path / name
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError) as error:
        load_config(str(path))
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value)


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "my.config.py"
    path.write_text(GOOD + "def get_config(): return SearchConfig(epochs=3)")
    assert load_config(str(path)) == SearchConfig(epochs=3)


@pytest.mark.parametrize("name, near", [("smok", "smoke"), ("digit", "digits")])
def test_unknown_names(name, near):
    with pytest.raises(UserError, match=f"unknown '{name}'; did you mean '{near}'"):
        load_config(name)


@pytest.mark.parametrize(
    ("place", "folder", "word"),
    [
        ("flowers", True, "flowers"),
        ("my.data.v1", True, "my_data_v1"),
        ("my.data.v2", True, "my_data_v2"),
        ("2024.06", True, "2024_06"),
        (".hidden", True, "hidden"),
        ("birds.npz", False, "birds"),
        ("my.data.v1.npz", False, "my_data_v1"),
        ("birds", False, "birds"),
    ],
)
def test_runs_are_named_after_data_of_ones_own(tmp_path, place, folder, word):
    """Two of them by two names; a file loses its ending, a folder has none."""
    path = tmp_path / place
    path.mkdir() if folder else path.write_bytes(b"")
    kinds = [name for name, row in DATASETS.items() if row.own]
    assert kinds
    for kind in kinds:
        for base, name in ((load_config("digits"), word), (SearchConfig(), None)):
            config = dataclasses.replace(base, data=DataConfig(kind, path))
            assert run_name(base, config) == (name or f"{base.name}_{word}")


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "/a"])
def test_names_that_are_no_folder(name):
    with pytest.raises(UserError, match="--name: .*; expected the name of a folder"):
        SearchConfig(name=name)


@pytest.mark.parametrize(
    ("name", "stratified", "split"),
    [
        ("digits", True, None),
        ("digits", False, "file_order"),
        ("cifar10", False, None),
        ("cifar10", True, "by_class"),
        ("npz", False, "file_order"),
        ("npz", True, None),
    ],
)
def test_a_configuration_with_stratified_is_read(name, stratified, split):
    """The first version's name of data.split; what is usual stays unsaid."""
    old = {"data": {"name": name, "stratified": stratified, "limit": 9}}
    assert from_json(old).data == DataConfig(name, limit=9, split=split)
    assert recipe_from_json({"evaluate_on": "valid", **old}).data.split == split


@pytest.mark.parametrize("limit", [None, 9])
@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize("name", DATASETS)
def test_folders_of_the_first_version_are_read(name, stratified, limit):
    """Of searches, and of trainings, which divide nothing if they use all images."""
    old = {"data": {"name": name, "stratified": stratified, "limit": limit}}
    said = "by_class" if stratified else "file_order"
    split = None if said == DATASETS[name].split else said
    assert from_json(old).data == DataConfig(name, limit=limit, split=split)
    for part in ("valid", "test"):
        found = recipe_from_json({"evaluate_on": part, **old})
        left = None if part == "test" and limit is None else split
        assert found.data == DataConfig(name, limit=limit, split=left)
        assert recipe_from_json(recipe_to_json(found)) == found


def as_by_the_first_version(config):
    """What it wrote for what this version writes."""
    new = {"split", "resize", "skip_damaged"}
    rest = {name: value for name, value in config["data"].items() if name not in new}
    return config | {"data": rest | {"stratified": False}}


@pytest.mark.parametrize("written", [to_json, recipe_to_json], ids=["search", "train"])
def test_a_folder_of_the_first_version_goes_on(tmp_path, written):
    kind = SearchConfig if written is to_json else TrainConfig
    split = "file_order" if kind is SearchConfig else None
    config = written(kind(data=DataConfig(split=split)))
    old = as_by_the_first_version(config)
    write_json(tmp_path / "config.json", old)
    with RunFolder.open(tmp_path, config, renew=renewed):
        assert read_json(tmp_path / "config.json") == json.loads(json.dumps(config))
    whole = {"kind": "compare", "train": config}
    (tmp_path / "compare").mkdir()
    write_json(tmp_path / "compare" / "config.json", whole | {"train": old})
    with RunFolder.open(tmp_path / "compare", whole, renew=jdarts.compare._renewed):
        pass


def test_a_wrong_stratified_is_refused():
    with pytest.raises(UserError, match="data: field: unknown 'stratified'"):
        from_json({"data": {"stratified": "yes"}})
