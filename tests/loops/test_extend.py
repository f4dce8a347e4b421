"""``--extend``: a run goes on for more epochs, and says what that means."""

import json
import re
import shutil
import signal
import time

import jax
import numpy as np
import pytest
from helpers import compiled_once
from search_runs import BASE, OFTEN, PER_EPOCH, STEPS, cached_in, last_checkpoint
from train_runs import OPTIONS, last_state, write_genotype

from jdarts import METHODS, UserError
from jdarts.cli import parse_search, run_command
from jdarts.io import read_json, read_metrics, write_json
from jdarts.methods import check_extension
from jdarts.search import main
from jdarts.train import main as train_main

SAID = "extended from 1 to 3 epochs after epoch 1: up to there every schedule"


@pytest.fixture(scope="module")
def short(cache, tmp_path_factory):
    """The folder of a search that was planned for one epoch."""
    folder = tmp_path_factory.mktemp("short") / "run"
    with cached_in(cache), compiled_once({}):
        assert (
            run_command(main, [*BASE, "--epochs", "1", "--run-dir", str(folder)]) == 0
        )
    return folder


def copy(folder, to):
    shutil.copytree(folder, to)
    return to


@pytest.fixture(scope="module")
def extended(short, search, tmp_path_factory):
    """The same, extended to three."""
    folder = copy(short, tmp_path_factory.mktemp("extended") / "run")
    assert search(folder, "--extend") == 0
    return folder


def states(found, expected):
    """Whether two runs ended with the same bits."""
    a, b = last_checkpoint(found), last_checkpoint(expected)
    assert a.step == b.step == STEPS
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def leaves(checkpoint):
    return jax.tree.leaves(checkpoint.state)


def test_goes_on_under_the_new_schedules(short, extended, search, tmp_path):
    """As a run of three epochs does from the short one's checkpoint on."""
    folder = copy(short, tmp_path / "run")
    config = read_json(folder / "config.json")
    assert config["epochs"] == 1
    write_json(folder / "config.json", config | {"epochs": 3})
    assert search(folder) == 0
    states(extended, folder)
    for name in ("metrics.jsonl", "arch.jsonl", "genotype.json"):
        assert (extended / name).read_bytes() == (folder / name).read_bytes()
    epochs = [
        r for r in read_metrics(extended / "metrics.jsonl") if r["kind"] == "epoch"
    ]
    assert [row["epoch"] for row in epochs] == [1, 2, 3]


def test_says_so(short, extended, search, tmp_path, capsys):
    config = read_json(extended / "config.json")
    assert config["epochs"] == 3 and config["extended"] == [[1, 3, PER_EPOCH]]
    assert SAID in (extended / "summary.txt").read_text()
    assert SAID not in (short / "summary.txt").read_text()
    assert SAID in (extended / "report.html").read_text()
    assert "extended" not in (short / "report.html").read_text()
    folder = copy(short, tmp_path / "run")
    capsys.readouterr()
    assert search(folder, "--extend", "--steps", "33") == 0
    # cosine from 0.1 to 0.001: of one epoch, and in the second of three
    assert f"{SAID}" in (out := capsys.readouterr().out)
    assert "learning rate there: 0.1, then 0.0752" in out
    assert search(folder) == 0  # the same with and without --extend, from now on
    states(folder, extended)


def test_killed_and_resumed(short, extended, start_search, search, tmp_path):
    folder = copy(short, tmp_path / "run")
    process = start_search(folder, "--extend", *OFTEN)
    while sum(r["kind"] == "step" for r in read_metrics(folder / "metrics.jsonl")) < 40:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (folder / "summary.txt").exists()
    assert search(folder, "--extend") == 0
    states(folder, extended)
    for name in ("config.json", "metrics.jsonl", "genotype.json", "summary.txt"):
        assert (folder / name).read_bytes() == (extended / name).read_bytes(), name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "",
            "1 in the folder. --extend goes on with it to 3 epochs; or choose another",
        ),
        ("--seed 9", "seed: 9 here, 2 in the folder. Choose another folder"),
        ("--seed 9 --extend", "seed: 9 here, 2 in the folder"),
        ("--epochs 1 --extend", "--extend: --epochs 1, but .* is a run of 1; expected"),
        ("--extend --steps 32", "--extend: --steps 32 ends the run where it is"),
        ("--extend --method.warmup 0.5", "made with another configuration"),
    ],
)
def test_refused(short, search, capsys, arguments, said):
    before = {p: p.read_bytes() for p in short.rglob("*") if p.is_file()}
    assert search(short, *arguments.split()) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.search(said, err), err
    after = {p: p.read_bytes() for p in short.rglob("*") if p.is_file()}
    assert {p for p in before if before[p] != after[p]} <= {short / ".lock"}


def test_nothing_to_extend(search, tmp_path, capsys):
    assert search(tmp_path / "new", "--extend") == 2
    assert "holds no run yet" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", METHODS)
def test_methods_with_phases_cannot(name):
    config = METHODS[name].config()
    if METHODS[name].phases:
        with pytest.raises(UserError, match="does different things in parts"):
            check_extension(config, 50, 100)
    else:
        check_extension(config, 50, 100)
    others = {"sgas", "asap", "p_darts", "random"}
    assert METHODS[name].phases == (name in others)


def test_a_warmup_that_would_begin_again():
    config = parse_search(["smoke", "--method.warmup", "0.3"]).config
    check_extension(config.method, 30, 100)
    with pytest.raises(
        UserError, match="first 300 train the weights alone.* 100 epochs"
    ):
        check_extension(config.method, 30, 1000)


def test_a_refused_method_leaves_the_folder(short, search, tmp_path, capsys):
    folder = copy(short, tmp_path / "run")
    config = read_json(folder / "config.json")
    config["method"]["warmup"] = 0.9
    write_json(folder / "config.json", config)
    before = (folder / "config.json").read_bytes()
    assert search(folder, "--extend", "--method.warmup", "0.9") == 2
    assert "train the weights alone" in capsys.readouterr().err
    assert (folder / "config.json").read_bytes() == before


def test_says_from_where_it_went_on(short, search, tmp_path, capsys):
    """Not from the newest checkpoint, if that is damaged."""
    folder = copy(short, tmp_path / "run")
    newest = folder / "checkpoints" / str(PER_EPOCH + 3)
    shutil.copytree(folder / "checkpoints" / str(PER_EPOCH), newest)
    for file in newest.rglob("*"):
        if file.is_file():
            file.write_bytes(b"damaged")
    capsys.readouterr()
    assert search(folder, "--extend", "--steps", str(PER_EPOCH + 4)) == 0
    assert SAID in capsys.readouterr().out
    assert read_json(folder / "config.json")["extended"] == [[1, 3, PER_EPOCH]]


def test_damaged_records(short, search, tmp_path, capsys):
    folder = copy(short, tmp_path / "run")
    config = read_json(folder / "config.json")
    for rows in ([[1]], "x", 7, [3], [[1, 2, 3, 4]], {"a": 1}):
        write_json(folder / "config.json", config | {"extended": rows})
        assert search(folder, "--extend") == 2
        err = capsys.readouterr().err
        assert "are damaged" in err and err.count("\n") == 1


def test_a_training(cache, tmp_path, capsys):
    """Of two seeds; bit for bit as one of three epochs from its checkpoint on."""
    genotype, made = write_genotype(tmp_path), {2: {}, 3: {}}

    def train(folder, epochs, *arguments):
        given = ["--epochs", str(epochs), "--seeds", "0", "1", *arguments]
        with cached_in(cache), compiled_once(made[epochs]):
            command = [genotype, *OPTIONS, *given, "--run-dir", str(folder)]
            return run_command(train_main, command)

    assert train(tmp_path / "a", 2) == 0
    by_hand = copy(tmp_path / "a", tmp_path / "b")
    for file in by_hand.rglob("config.json"):
        write_json(file, read_json(file) | {"epochs": 3})
    assert train(tmp_path / "a", 3) == 2
    assert "--extend goes on with it to 3 epochs" in capsys.readouterr().err
    assert train(tmp_path / "a", 3, "--extend") == 0
    out = capsys.readouterr().out
    assert "extended from 2 to 3 epochs after epoch 2" in out
    assert train(by_hand, 3) == 0
    arguments = [genotype, *OPTIONS, "--seeds", "0", "1"]
    a, b = (last_state(tmp_path / name, arguments) for name in "ab")
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)
    assert (tmp_path / "a" / "result.json").read_bytes() == (
        by_hand / "result.json"
    ).read_bytes()
    for part in ("", "seed_0", "seed_1"):
        assert "extended from 2" in (tmp_path / "a" / part / "summary.txt").read_text()
        config = json.loads((tmp_path / "a" / part / "config.json").read_text())
        assert config["extended"] == [[2, 3, 64]] and config["epochs"] == 3
