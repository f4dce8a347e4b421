"""The training command: killed and resumed, several seeds, evaluation, results."""

import dataclasses
import json
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, compiled_once
from search_runs import cached_in
from train_runs import (
    GENOTYPE,
    OFTEN,
    OPTIONS,
    PER_EPOCH,
    STEPS,
    assert_same_training,
    last_state,
    write_genotype,
)

from jdarts import UserError, fixed_network, load_genotype
from jdarts.cli import run_command
from jdarts.io import Checkpoints, read_json, read_metrics
from jdarts.loops.run import Run
from jdarts.loops.train import evaluate_checkpoint, train_setup
from jdarts.loops.train_record import TrainResult, read_results
from jdarts.reports import write_report
from jdarts.train import main
from jdarts.train_cli import parse_train

SEEDS = (5, 0)
SMALL = [*OPTIONS, "--data.limit", "64", "--epochs", "2"]
SMALL += ["--evaluate-on", "valid"]


@pytest.fixture(scope="module")
def genotype(tmp_path_factory):
    return write_genotype(tmp_path_factory.mktemp("genotype"))


@pytest.fixture(scope="module")
def train(cache, genotype):
    """``train(folder, *arguments, x64=False)``; programs are compiled once."""
    made = {}

    def run(folder, *arguments, x64=False):
        with jax.enable_x64(x64), cached_in(cache), compiled_once(made):
            return run_command(main, [genotype, *arguments, "--run-dir", str(folder)])

    return run


@pytest.fixture(scope="module")
def unbroken(train, tmp_path_factory):
    """The folder of a training that nothing interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    assert train(folder, *OPTIONS) == 0
    return folder


# --- results --------------------------------------------------------------------------


def test_the_folder(unbroken):
    names = {f.name for f in unbroken.iterdir()}
    assert names >= {"config.json", "metrics.jsonl", "result.json", "summary.txt"}
    assert load_genotype(unbroken) == GENOTYPE
    config = read_json(unbroken / "config.json")
    assert config["genotype"] == GENOTYPE.to_json() and config["seed"] == 0


def test_last_and_best_are_those_of_the_metrics(unbroken):
    rows = read_metrics(unbroken / "metrics.jsonl")
    epochs = [row for row in rows if row["kind"] == "epoch"]
    assert [row["epoch"] for row in epochs] == [1, 2, 3]
    (result,) = read_results(unbroken)
    tops = [row["test_accuracy"] for row in epochs]
    assert result.last.top1 == tops[-1] and result.best.top1 == max(tops)
    assert result.best.epoch == 1 + tops.index(max(tops))
    assert result.last.top5 == epochs[-1]["test_top5"] >= result.last.top1
    assert (result.images, result.steps, result.seed) == (360, STEPS, 0)
    assert result.genotype == GENOTYPE and result.evaluated_on == "test"
    assert 0.1 <= result.majority < 0.2
    text = (unbroken / "summary.txt").read_text()
    assert f"{100 * result.last.top1:.2f} %" in text and "optimistic" in text
    assert f"{result.parameters:,} parameters" in text


def by_plain_code(config, start, state, images, labels):
    """Accuracies of the best class and of the best five, and the loss: of all images
    at once, by logits and argsort."""
    w, statistics = jax.tree.map(
        jnp.asarray, state.average or (state.w, state.model_state)
    )
    network = fixed_network(
        GENOTYPE,
        channels=config.channels,
        layers=config.layers,
        classes=10,
        auxiliary=config.auxiliary,
    )
    mean, std = np.float64(start.images.mean), np.float64(start.images.std)
    pixels = (images / 255 - mean) / std
    outputs, _ = network.apply(
        w, statistics, jnp.asarray(pixels, jnp.result_type(float)), False
    )
    logits = np.asarray(outputs.logits, np.float64)
    order = np.argsort(-logits, axis=1)
    logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return (
        np.mean(order[:, 0] == labels),
        np.mean((order[:, :5] == labels[:, None]).any(1)),
        -np.mean(logp[np.arange(len(labels)), labels]),
    )


def test_accuracy_is_that_of_the_saved_weights_on_the_test_images(unbroken, genotype):
    command = parse_train([genotype, *OPTIONS])
    start = train_setup(command.config, command.genotype)
    saved = last_state(unbroken, [genotype, *OPTIONS])
    raw = start.images
    found = by_plain_code(
        command.config, start, saved.state, raw.test_images, raw.test_labels
    )
    (result,) = read_results(unbroken)
    assert result.last.top1 == found[0] and result.last.top5 == found[1]
    assert result.last.loss == pytest.approx(found[2], rel=1e-4)
    assert result.last.top1 > 0.2  # of ten classes


def test_evaluated_every_second_epoch_and_at_the_end(train, unbroken, tmp_path):
    """What is evaluated is the same; nothing else is."""
    assert train(tmp_path / "run", *OPTIONS, "--evaluate-every", "2") == 0
    every, rows = (
        [r for r in read_metrics(f / "metrics.jsonl") if r["kind"] == "epoch"]
        for f in (unbroken, tmp_path / "run")
    )
    for epoch, (full, row) in enumerate(zip(every, rows, strict=True), 1):
        assert row.get("test_loss") == (None if epoch == 1 else full["test_loss"])
        assert row["epoch_train_loss"] == full["epoch_train_loss"]
    (expected,), (result,) = read_results(unbroken), read_results(tmp_path / "run")
    assert result.last == expected.last
    assert result.best.top1 == max(row["test_accuracy"] for row in rows[1:])


def test_ends_after_an_epoch_that_was_not_evaluated(train, unbroken, tmp_path):
    """It is evaluated then, once, however often the command is given again."""
    folder, save = tmp_path / "run", Run.save
    options = [*OPTIONS, "--evaluate-every", "2"]
    last = [*options, "--steps", str(PER_EPOCH)]

    def stop(run, checkpoints, say):
        save(run, checkpoints, say)
        if run.step == PER_EPOCH:
            checkpoints.wait()
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "save", stop)
        assert train(folder, *options) == 130
    write_report(folder)  # of a training without any accuracy so far
    assert train(folder, *last) == 0
    written = (folder / "metrics.jsonl").read_bytes()
    rows = [r for r in read_metrics(folder / "metrics.jsonl") if r["kind"] == "epoch"]
    every = read_metrics(unbroken / "metrics.jsonl")
    assert rows == [row for row in every if row["kind"] == "epoch"][:1]
    (result,) = read_results(folder)
    assert (result.last.epoch, result.steps) == (1, PER_EPOCH)
    assert train(folder, *last) == 0
    assert (folder / "metrics.jsonl").read_bytes() == written
    assert train(folder, *options) == 0
    (result,), (expected,) = read_results(folder), read_results(unbroken)
    assert result.last == expected.last
    assert result.best.epoch > 1  # as of a run that was never stopped there


def test_the_best_is_of_a_whole_epoch_where_it_goes_on(train, unbroken, tmp_path):
    folder = tmp_path / "run"
    assert train(folder, *OPTIONS, "--steps", str(PER_EPOCH + 1)) == 0
    (result,) = read_results(folder)
    assert result.last.epoch == 2
    assert result.best.top1 >= result.last.top1
    assert train(folder, *OPTIONS) == 0
    assert read_results(folder) == read_results(unbroken)


def test_what_is_refused_leaves_the_configuration(train, unbroken, capsys):
    before = (unbroken / "config.json").read_bytes()
    assert train(unbroken, *OPTIONS, "--steps", "5") == 2
    assert "is already at step" in capsys.readouterr().err
    assert (unbroken / "config.json").read_bytes() == before


def test_other_images_are_normalised_as_those_trained_on(unbroken, genotype):
    config, chosen = parse_train([genotype, *OPTIONS])[:2]
    start = train_setup(config, chosen)
    other = dataclasses.replace(start.images, mean=(0.9,), std=(7.0,))
    folder = unbroken / "checkpoints"
    found = evaluate_checkpoint(config, start._replace(images=other), folder)
    assert found == evaluate_checkpoint(config, start, folder)
    (result,) = read_results(unbroken)
    ((score, _),) = found
    assert score.top1 == result.last.top1


def test_means_of_an_epoch(unbroken):
    rows = read_metrics(unbroken / "metrics.jsonl")
    steps = [row for row in rows if row["kind"] == "step"]
    assert [row["step"] for row in steps] == list(range(1, STEPS + 1))
    first = np.mean([row["train_loss"] for row in steps[:PER_EPOCH]])
    epoch = next(row for row in rows if row["kind"] == "epoch")
    assert epoch["epoch_train_loss"] == pytest.approx(first, rel=1e-6)
    lrs = [row["lr"] for row in steps]
    assert lrs[0] == lrs[PER_EPOCH - 1] > lrs[PER_EPOCH] > lrs[-1] > 0


def test_parameters_are_counted_by_hand(unbroken):
    """Grey stem of 6; a normal cell of width 2 and reductions of 4 and 8, each of two
    adapters, a separable op and a skip, which has weights where it halves; 10 classes.
    """
    (result,) = read_results(unbroken)
    dense = lambda a, b: a * b + 2 * b  # noqa: E731 (1 x 1, then a normaliser)
    separable = lambda c: 2 * (9 * c + dense(c, c))  # noqa: E731
    stem, head = 9 * 6 + 2 * 6, 8 * 10 + 10
    normal = dense(6, 2) + dense(6, 2) + separable(2)
    first = dense(6, 4) + dense(2, 4) + separable(4) + dense(4, 4)
    second = dense(2, 8) + dense(4, 8) + separable(8) + dense(8, 8)
    assert result.parameters == stem + normal + first + second + head


def test_results_that_are_none(unbroken, tmp_path):
    with pytest.raises(UserError, match="holds no result.json"):
        read_results(tmp_path)
    for content in ("[]", '{"kind": "train"}', '{"runs": [3]}'):
        (tmp_path / "result.json").write_text(content)
        with pytest.raises(UserError, match="not the result of a training"):
            read_results(tmp_path)
    data = read_json(unbroken / "result.json")
    assert TrainResult.from_json(data, "x").to_json() == data


# --- killed and resumed ---------------------------------------------------------------


def rows(folder):
    try:
        return sum(r["kind"] == "step" for r in read_metrics(folder / "metrics.jsonl"))
    except UserError:
        return 0


def interrupt(environment, arguments, moment, number):
    """Starts the command, sends a signal when `moment()` holds; its output."""
    process = subprocess.Popen(
        [sys.executable, "-m", "jdarts.train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    while not moment():
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert err == ""
    return process.returncode, out


def test_ends_as_the_unbroken_run(environment, genotype, unbroken, train, tmp_path):
    folder = tmp_path / "broken"
    arguments = [genotype, *OPTIONS, "--run-dir", str(folder)]
    status, _ = interrupt(
        environment, [*arguments, *OFTEN], lambda: rows(folder) > 5, signal.SIGKILL
    )
    assert status == -signal.SIGKILL and 5 < rows(folder) < STEPS
    status, out = interrupt(
        environment, arguments, lambda: rows(folder) > PER_EPOCH, signal.SIGTERM
    )
    assert status == 128 + signal.SIGTERM and "everything saved" in out
    assert "resuming" in out and not (folder / "result.json").exists()
    assert train(folder, *OPTIONS) == 0
    assert_same_training(folder, unbroken, [genotype, *OPTIONS])


def test_a_trial_can_be_extended(train, genotype, unbroken, tmp_path):
    trial = tmp_path / "trial"
    assert train(trial, *OPTIONS, "--steps", "5") == 0
    assert read_results(trial)[0].steps == 5
    assert train(trial, *OPTIONS) == 0
    final, expected = (last_state(f, [genotype, *OPTIONS]) for f in (trial, unbroken))
    assert_close(final.state, expected.state, 0.0)
    assert read_results(trial)[0].last == read_results(unbroken)[0].last


# --- several seeds --------------------------------------------------------------------


@pytest.fixture(scope="module")
def population(train, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "population"
    seeds = ["--seeds", *map(str, SEEDS)]
    assert train(folder, *SMALL, *seeds, x64=True) == 0
    return folder


def test_accuracy_on_the_held_out_part(population, genotype):
    """Of each seed: its own half of the training images."""
    words = [genotype, *SMALL, "--seeds", *map(str, SEEDS)]
    with jax.enable_x64(True):
        command = parse_train(words)
        start = train_setup(command.config, command.genotype)
        with Checkpoints(population / "checkpoints") as checkpoints:
            states = start.seeds.each(checkpoints.restore(start.state).state)
        halves = []
        for state, seed, held in zip(states, SEEDS, start.data.held, strict=True):
            held = np.asarray(held)
            raw = start.images
            images, labels = raw.train_images[held], raw.train_labels[held]
            found = by_plain_code(command.config, start, state, images, labels)
            (result,) = read_results(population / f"seed_{seed}")
            assert (result.last.top1, result.last.top5) == found[:2]
            assert result.last.loss == pytest.approx(found[2], rel=1e-9)
            halves.append(frozenset(held.tolist()))
    assert len(set(halves)) == len(SEEDS)


def test_seeds_are_runs_of_their_own(train, population, tmp_path):
    for seed in SEEDS:
        alone = tmp_path / f"alone_{seed}"
        assert train(alone, *SMALL, "--seed", str(seed), x64=True) == 0
        part = population / f"seed_{seed}"
        found, expected = (read_metrics(f / "metrics.jsonl") for f in (part, alone))
        assert len(found) == len(expected) == 2 * 4 + 2
        for a, b in zip(found, expected, strict=True):
            assert a.pop("kind") == b.pop("kind")
            assert a == pytest.approx(b, rel=1e-8)
        names = {f.name for f in part.iterdir()}
        missing = {f.name for f in alone.iterdir()} - names
        common = {"timing.jsonl", "report.html", "data.json", ".lock"}
        assert missing == {"checkpoints", *common}
        for name in ("config.json", "genotype.json"):
            assert (part / name).read_bytes() == (alone / name).read_bytes()


def test_results_of_several_seeds(population):
    results = read_results(population)
    assert [r.seed for r in results] == list(SEEDS)
    assert len({r.last.loss for r in results}) == len(SEEDS)
    assert all(r.evaluated_on == "valid" and r.images == 32 for r in results)
    assert read_results(population / "seed_0") == [results[1]]
    lines = (population / "summary.txt").read_text().splitlines()
    tops = [100 * r.last.top1 for r in results]
    rows = {line.split()[0]: line.split() for line in lines if line}
    mean, std = rows["mean"], rows["std"]
    assert float(mean[1]) == pytest.approx(np.mean(tops), abs=0.006)
    assert float(std[1]) == pytest.approx(np.std(tops, ddof=1), abs=0.006)


# --- evaluation -----------------------------------------------------------------------


def test_evaluation_alone_repeats_the_result(train, genotype, unbroken, capsys):
    """By the run's settings, and by the folder alone."""
    (result,) = read_results(unbroken)
    before = {f: f.read_bytes() for f in unbroken.rglob("*") if f.is_file()}
    wanted = f"test accuracy {100 * result.last.top1:.2f} %"
    capsys.readouterr()
    assert train(unbroken, *OPTIONS, "--data.eval-only") == 0
    assert wanted in capsys.readouterr().out
    assert run_command(main, [str(unbroken), "--data.eval-only"]) == 0
    assert wanted in capsys.readouterr().out
    after = {f: f.read_bytes() for f in unbroken.rglob("*") if f.is_file()}
    assert {f for f in before if before[f] != after[f]} <= {unbroken / ".lock"}


def test_evaluation_asks_nothing_of_training(
    train, genotype, unbroken, capsys, tmp_path
):
    """A batch larger than the training part, more steps than there are, a limit beyond
    it, and no training part at all."""
    (result,) = read_results(unbroken)
    wanted = f"test accuracy {100 * result.last.top1:.2f} %"
    given = [genotype, *OPTIONS, "--run-dir", str(unbroken), "--data.eval-only"]
    for extra in (
        ["--batch-size", "1000000000"],
        ["--batch-size", "400", "--data.limit", "300"],
        ["--steps", "1000000000", "--data.limit", "100000"],
        ["--epochs", "1000000"],
    ):
        capsys.readouterr()
        assert run_command(main, [*given, *extra]) == 0
        assert wanted in capsys.readouterr().out
    start = train_setup(parse_train(given).config, load_genotype(genotype))
    file = tmp_path / "test.npz"
    np.savez(
        file, test_images=start.images.test_images, test_labels=start.images.test_labels
    )
    assert (
        run_command(main, [*given, "--data.name", "npz", "--data.dir", str(file)]) == 0
    )
    assert wanted in capsys.readouterr().out
    other = [genotype, *OPTIONS, "--data.name", "npz", "--data.dir", str(file)]
    assert run_command(main, [*other, "--run-dir", str(tmp_path / "new")]) == 2
    assert "has no training images but 360 to test" in capsys.readouterr().err


@pytest.mark.parametrize("inside", ["", "checkpoints"])
def test_evaluates_the_checkpoint_of_another_run(
    train, unbroken, tmp_path, inside, capsys
):
    checkpoint = str(unbroken / inside)
    given = ("--data.eval-only", "--checkpoint", checkpoint)
    assert train(tmp_path / "none", *OPTIONS, *given) == 0
    assert "test accuracy" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()
    assert train(tmp_path / "none", *OPTIONS, "--channels", "4", *given) == 2
    err = capsys.readouterr().err
    assert "a checkpoint of another network" in err and err.count("\n") == 1


def test_evaluation_without_a_checkpoint(train, tmp_path, capsys):
    assert train(tmp_path / "none", *OPTIONS, "--data.eval-only") == 2
    assert "no such folder" in capsys.readouterr().err
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    assert train(tmp_path / "empty", *OPTIONS, "--data.eval-only") == 2
    assert "holds no checkpoint" in capsys.readouterr().err


# --- runs that cannot go on -----------------------------------------------------------


def test_a_loss_that_is_not_finite(environment, genotype, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "jdarts.train", genotype, *OPTIONS]
        + ["--optimizer.lr", "1e30", "--optimizer.clip", "1e30"]
        + ["--run-dir", str(tmp_path / "run")],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "not finite" in done.stderr
    assert "--optimizer.lr" in done.stderr


def test_another_genotype_in_the_folder(train, unbroken, capsys):
    before = (unbroken / "result.json").read_bytes()
    assert run_command(main, ["DARTS_V1", *OPTIONS, "--run-dir", str(unbroken)]) == 2
    err = capsys.readouterr().err
    assert "made with another configuration: genotype" in err and err.count("\n") == 1
    assert (unbroken / "result.json").read_bytes() == before


def test_json_of_a_result_is_documented(unbroken):
    data = json.loads((unbroken / "result.json").read_text())
    assert list(data) == [
        "kind",
        "name",
        "seed",
        "genotype",
        "parameters",
        "evaluated_on",
        "images",
        "majority",
        "steps",
        "last",
        "best",
        "classes",
    ]
    counts = data["classes"]
    assert counts["names"] == [str(digit) for digit in range(10)]
    assert sum(counts["images"]) == data["images"]
    right = sum(counts["correct"])
    assert right / data["images"] == pytest.approx(data["last"]["top1"])
    wrong = sum(count for *_, count in counts["confusions"])
    assert right + wrong == data["images"]
    summary = (unbroken / "summary.txt").read_text()
    assert "lowest accuracy by class: " in summary and "most often confused" in summary
