"""What a user can get wrong before a training begins: one line, nothing written."""

import json
from pathlib import Path

import numpy as np
import pytest

from jdarts import ZOO, UserError
from jdarts.cli import run_command
from jdarts.config import config_names, from_json
from jdarts.data import DATASETS, TEXTS, DataConfig
from jdarts.io import GenotypeLog, write_json
from jdarts.recipes import recipe_of_search
from jdarts.reports.read import read_run
from jdarts.train import main
from jdarts.train_cli import parse_train
from jdarts.train_config import (
    TrainConfig,
    load_recipe,
    recipe_from_json,
    recipe_names,
    recipe_to_json,
)

RECIPES = sorted(recipe_names())


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
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return run


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ("", "nothing to train"),
        ("DARTS_V3", "did you mean 'DARTS_V2'"),
        ("DARTS_V2 train_cifar1", "did you mean 'train_cifar10'"),
        ("DARTS_V2 digits", "did you mean 'train_digits'"),
        ("DARTS_V2 x.py", "x.py: no such configuration file"),
        ("DARTS_V2 --layer 3", "did you mean '--layers'"),
        ("DARTS_V2 --layers few", "--layers"),
        ("DARTS_V2 --epochs 0", "--epochs: 0"),
        ("DARTS_V2 --steps 0", "--steps: 0"),
        ("DARTS_V2 --steps 999999", "--steps: 999999 is more than"),
        ("DARTS_V2 --batch-size 2000", "more than the 1437 images to train on"),
        ("DARTS_V2 --drop-path 1.0", "--drop-path: 1.0"),
        ("DARTS_V2 --label-smoothing -0.1", "--label-smoothing: -0.1"),
        ("DARTS_V2 --average-decay nan", "--average-decay: nan"),
        ("DARTS_V2 --stem imagent", "did you mean 'imagenet'"),
        ("DARTS_V2 --stem imagenet", "images: 8 x 8 pixels"),
        ("DARTS_V2 --evaluate-on tests", "did you mean 'test'"),
        ("DARTS_V2 --compute-dtype bfloat", "did you mean 'bfloat16'"),
        ("DARTS_V2 --seed 1 --seeds 2 3", "--seeds"),
        ("DARTS_V2 --auxiliary", "the auxiliary head expects at least 32 x 32"),
        ("DARTS_V2 --auxiliary-weight 0.3", "has no effect without --auxiliary"),
        ("DARTS_V2 --data.valid-fraction 0.2", "with --evaluate-on valid"),
        ("DARTS_V2 --data.split by_class", "with --evaluate-on valid"),
        ("DARTS_V2 --data.split class", "did you mean 'by_class'"),
        ("DARTS_V2 --data.classes 100", "digits has 10 classes, expected 100"),
        ("DARTS_V2 --data.name cifar", "did you mean 'cifar10'"),
        ("DARTS_V2 train_cifar10", "--data.dir: not given"),
        ("DARTS_V2 --optimizer.schedule lin", "did you mean 'linear'"),
        ("DARTS_V2 --optimizer.decay 0.9", "has no effect with schedule 'cosine'"),
        ("DARTS_V2 --optimizer.momentum 1.0", "--optimizer.momentum: 1.0"),
        ("DARTS_V2 --checkpoint x", "has no effect without --data.eval-only"),
        ("DARTS_V2 --allow-unfinished", "--allow-unfinished: has no effect"),
        ("DARTS_V2 --data.eval-only", "no such folder"),
        ("RNN_DARTS_V2 train_digits", "recurrent cells, but recipe 'train_digits'"),
        ("GDAS_F1_fixed_reduction --channels 6", "expected a multiple of 8"),
    ],
)
def test_one_line(refused, arguments, part):
    assert part in refused(*arguments.split())


# --- genotypes from files and runs ----------------------------------------------------


def search_run(folder, data=None, final="DARTS_V2"):
    """The folder of a search, as far as trainings look at it."""
    folder.mkdir()
    write_json(folder / "config.json", {"data": data or {"name": "digits"}})
    log = GenotypeLog(folder / "genotype.json")
    log.record(1, ZOO["DARTS_V1"])
    if final:
        log.finish(ZOO[final])


@pytest.mark.parametrize(
    ("primitive", "node", "concat", "part"),
    [
        ("sep_conv_3x4", 0, [2], "did you mean 'sep_conv_3x3'"),
        ("sep_conv_3x3", 2, [2], "reads node 2, expected 0 to 1"),
        ("sep_conv_3x3", 0, [2, 7], "concat names node 7"),
    ],
)
def test_bad_genotypes(refused, tmp_path, primitive, node, concat, part):
    cell = {"nodes": [[[primitive, node]]], "concat": concat}
    data = {"space": "toy", "cells": {"normal": cell, "reduce": cell}}
    (tmp_path / "found.json").write_text(json.dumps(data))
    assert part in refused("found.json")


def test_an_unfinished_search(refused, tmp_path):
    search_run(tmp_path / "run", final=None)
    assert "the search is not finished (last epoch: 1)" in refused("run")
    command = parse_train([str(tmp_path / "run"), "--allow-unfinished"])
    assert command.genotype == ZOO["DARTS_V1"]


def test_a_search_gives_genotype_recipe_and_folder(tmp_path):
    search_run(tmp_path / "run", {"name": "cifar10", "dir": "images"})
    command = parse_train([str(tmp_path / "run")])
    assert command.genotype == ZOO["DARTS_V2"]
    assert command.config.name == "train_cifar10" and command.config.channels == 36
    assert str(command.config.data.dir) == "images"
    assert command.run_dir == tmp_path / "run" / "train_cifar10"
    command = parse_train([str(tmp_path / "run"), "train_digits", "--name", "mine"])
    assert command.config.data.name == "digits"
    assert command.run_dir == tmp_path / "run" / "mine"


OWN = {"name": "npz", "dir": "x.npz", "limit": 90, "flip": False, "split": "file_order"}


@pytest.mark.parametrize("named", [[], ["train_images"]])
def test_a_search_on_data_without_a_recipe(tmp_path, named):
    """The general one, of the search's size, on the search's images and options."""
    search_run(tmp_path / "run", OWN)
    sizes = {"channels": 5, "layers": 4, "epochs": 7, "batch_size": 24}
    write_json(tmp_path / "run" / "config.json", {"data": OWN, **sizes})
    command = parse_train([str(tmp_path / "run"), *named])
    config = command.config
    assert command.run_dir == tmp_path / "run" / "train_images"
    assert (config.channels, config.layers, config.epochs) == (10, 4, 21)
    assert config.batch_size == 24 and config.evaluate_on == "auto"
    assert config.data == from_json({"data": OWN}).data
    assert parse_train([str(tmp_path / "run"), "--channels", "3"]).config.channels == 3
    assert parse_train(["DARTS_V2", "train_images"]).config.channels == 16


def test_a_search_on_a_text_without_a_recipe(tmp_path):
    folder = tmp_path / "run"
    text = {"name": "file", "dir": "book.txt", "level": "character", "vocabulary": 40}
    search_run(folder, text, "RNN_DARTS_V2")
    config = {"space": "darts_rnn", "data": text, "units": 24, "epochs": 2}
    write_json(folder / "config.json", {**config, "batch_size": 10})
    command = parse_train([str(folder)])
    assert command.run_dir == folder / "train_text"
    assert (command.config.units, command.config.epochs) == (48, 6)
    assert command.config.batch_size == 5
    assert command.config.data == from_json(config).data


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_has_a_recipe_that_fits(name):
    """Each row of the table: some recipe, on the search's data."""
    data = {"name": name.replace("NAME", "mine"), "dir": "there", "crop_padding": 3}
    search = from_json({"data": data})
    recipe = recipe_of_search(search)
    assert (recipe.data.name, recipe.data.dir) == (search.data.name, search.data.dir)
    assert recipe_from_json(recipe_to_json(recipe)) == recipe


@pytest.mark.parametrize("name", TEXTS)
def test_every_text_has_a_recipe_that_fits(name):
    data = {"name": name, "dir": "there", "level": "character"}
    search = from_json({"space": "darts_rnn", "data": data})
    recipe = recipe_of_search(search)
    assert recipe.data == search.data
    assert recipe_from_json(recipe_to_json(recipe)) == recipe


def test_where_it_is_judged_follows_from_the_data():
    config = load_recipe("train_images")
    assert config.judged(has_test=False).evaluate_on == "valid"
    assert config.judged(has_test=True).evaluate_on == "test"
    for part in ("test", "valid"):
        given = TrainConfig(evaluate_on=part)
        assert given.judged(True) == given.judged(False) == given


@pytest.mark.parametrize(
    ("flag", "given"),
    [
        ("split", {"split": "by_class"}),
        ("split", {"split": "file_order"}),
        ("valid-fraction", {"valid_fraction": 0.25}),
    ],
)
def test_options_that_the_data_leave_without_effect(tmp_path, flag, given):
    """The user's own are refused, a search's own are not taken over."""
    value = str(*given.values())
    command = parse_train(["DARTS_V2", "train_images", f"--data.{flag}", value])
    found = command.config.judged(has_test=False)
    assert found.data == DataConfig("image_folder", **given)
    with pytest.raises(UserError, match=f"--data.{flag}: has no effect"):
        command.config.judged(has_test=True)
    search = {"name": "npz", "dir": "x.npz", **given}
    search_run(tmp_path / "run", search)
    write_json(tmp_path / "run" / "config.json", {"data": search})
    config = parse_train([str(tmp_path / "run")]).config
    assert config.data == DataConfig("npz", Path("x.npz"))
    config.judged(has_test=True)


def test_a_trainings_folder_says_where_it_is_judged(tmp_path):
    config = load_recipe("train_images")
    data = recipe_to_json(config, ZOO["DARTS_V2"])
    write_json(tmp_path / "config.json", data)
    for command in (parse_train, lambda words: read_run(Path(words[0]))):
        with pytest.raises(UserError, match="config.json: evaluate_on: found 'auto'"):
            command([str(tmp_path)])
    for part in ("test", "valid"):
        assert recipe_from_json(data | {"evaluate_on": part}).evaluate_on == part
    assert recipe_from_json(recipe_to_json(config)) == config  # a recipe


def test_a_name_of_the_zoo_and_seeds(tmp_path):
    command = parse_train(["PDARTS", "--seeds", "1", "2"])
    assert str(command.run_dir) == "runs/PDARTS/train_digits"
    assert command.config.seeds == (1, 2) and command.config.seed is None
    assert str(parse_train(["PDARTS", "--run-dir", "x"]).run_dir) == "x"


def test_data_without_test_images(refused, tmp_path):
    images = np.zeros((40, 8, 8, 1), np.uint8)
    labels = np.arange(40) % 2
    np.savez(tmp_path / "x.npz", train_images=images, train_labels=labels)
    given = ("DARTS_V2", "--data.name", "npz", "--data.dir", "x.npz")
    small = ("--batch-size", "8")
    assert "has no test images" in refused(*given, *small)


# --- recipes --------------------------------------------------------------------------


def test_recipes_are_apart_from_searches():
    assert set(RECIPES) == {
        "train_cifar10",
        "train_cifar100",
        "train_digits",
        "train_imagenet",
        "train_images",
        "train_ptb",
        "train_text",
        "train_topics",
        "train_wikitext2",
    }
    assert not set(RECIPES) & set(config_names())


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_documents(name):
    text = recipe_names()[name].read_text()
    assert "Reproduces" in text and "python -m jdarts.train" in text
    config = load_recipe(name)
    assert config.name == name
    assert recipe_from_json(json.loads(json.dumps(recipe_to_json(config)))) == config


def test_the_published_training():
    """Liu et al., appendix A.2, and their code."""
    config = load_recipe("train_cifar10")
    assert (config.channels, config.layers, config.batch_size) == (36, 20, 96)
    assert (config.epochs, config.auxiliary_weight, config.drop_path) == (600, 0.4, 0.2)
    assert config.auxiliary and config.data.cutout == 16 and config.all_seeds == (0,)
    o = config.optimizer
    assert (o.lr, o.lr_min, o.momentum, o.weight_decay, o.clip, o.schedule) == (
        0.025,
        0.0,
        0.9,
        3e-4,
        5.0,
        "cosine",
    )


def test_json_of_a_training_with_a_mistake():
    with pytest.raises(UserError, match="did you mean 'epochs'"):
        recipe_from_json({"epoch": 3}, "config.json")
    with pytest.raises(UserError, match="config.json: epochs: found 'x'"):
        recipe_from_json({"epochs": "x"}, "config.json")
    assert recipe_from_json({"genotype": {}, "epochs": 3}) == TrainConfig(epochs=3)


def test_help_lists_the_zoo(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0 and "DARTS_V2" in out and "--average-decay" in out


def test_genotypes_from_elsewhere(tmp_path, refused):
    """Text, a file of several, the log of a search: where each goes; and refused."""
    cells = ZOO["DARTS_V2"].cells
    fields = ", ".join(
        f"{kind}={[tuple(edge) for edge in cell.connections]}, "
        f"{kind}_concat=range(2, 6)"
        for kind, cell in cells.items()
    )
    file = tmp_path / "found.py"
    file.write_text(f"A = Genotype({fields})\nB = A\n")
    for which, place in (
        (f"Genotype({fields})", "runs/genotype_"),
        (f"MINE = Genotype({fields})", "runs/MINE/"),
        ("found.py@A", "runs/A/"),
    ):
        command = parse_train([which])
        assert command.genotype == ZOO["DARTS_V2"]
        assert str(command.run_dir).startswith(place)
        assert command.run_dir.name == "train_digits"
        assert parse_train([which]) == command
    assert "expected which one, as found.py@B" in refused("found.py")
    assert "unknown 'C'" in refused("found.py@C")
    assert "primitive: unknown" in refused(
        f"Genotype({fields})".replace("sep_", "seq_")
    )
    text = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    assert "expected normal and reduce" in refused(text)


def test_the_genotype_of_an_epoch(tmp_path, refused):
    run = tmp_path / "runs" / "cifar"
    run.mkdir(parents=True)
    write_json(run / "config.json", {"data": {"name": "cifar10", "dir": "there"}})
    log = GenotypeLog(run / "genotype.json")
    log.record(1, ZOO["PDARTS"])
    log.record(2, ZOO["DARTS_V2"])
    command = parse_train(["runs/cifar@1"])
    assert command.genotype == ZOO["PDARTS"]
    assert str(command.run_dir) == "runs/cifar/epoch_1/train_cifar10"
    assert str(command.config.data.dir) == "there"  # pyrefly: ignore
    log.finish(ZOO["DARTS_V2"])
    assert parse_train(["runs/cifar@2"]).genotype == ZOO["DARTS_V2"]
    assert "runs/cifar@7: it holds genotypes of epochs 1 to 2" in refused(
        "runs/cifar@7"
    )
    assert "runs/cifar@last: it holds" in refused("runs/cifar@last")
