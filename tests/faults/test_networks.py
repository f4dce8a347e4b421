"""Damaged checkpoints, exports and perturbations; comparisons that go on.

As `test_reading`, for what has real arrays in it. Commands end where they would
compile; checkpoints that a search or a training goes on from have `test_resuming`.
"""

import functools
import json

import numpy as np
import pytest
from alterations import ANY, alterations, copy_of, cut, deleted, one_byte
from judging import CompilingOnce, Reached, ending

from jdarts import UserError, compare, export, exports, perturb
from jdarts.cli import parse_search, run_command
from jdarts.comparisons import plan, trainings
from jdarts.config import to_json
from jdarts.exports import Format, Trained, load_trained, read_weights, trained
from jdarts.io import Checkpoints, GenotypeLog, write_json
from jdarts.io.leaves import describe
from jdarts.loops import perturb as rounds
from jdarts.loops.setup import setup
from jdarts.loops.train_record import EpochScore, TrainResult
from jdarts.problem import Evaluation
from jdarts.train_cli import parse_train
from jdarts.train_config import recipe_to_json

SEARCH = "smoke --channels 2 --layers 2 --batch-size 8 --data.limit 64".split()
TRAIN = "train_digits --channels 2 --layers 1 --data.limit 64".split()
CELL = {"nodes": [[["max_pool_3x3", 0], ["skip_connect", 1]]], "concat": [2]}
CONFIG, RESULT = "config.json", "result.json"
DAMAGES = (deleted, cut, one_byte(1))
"""Of a file of a checkpoint, which another library reads."""


def files_of(folder):
    return sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())


def names_of(problems):
    return f"{len(problems)} wrong:\n" + "\n".join(problems[:40])


def digest(tree):
    return str(describe(tree))


# --- checkpoints of finished runs ---


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("networks")


def save(folder, start):
    """Two checkpoints, of which the older one has another step."""
    older = start.state._replace(step=start.state.step + 1)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(4, older, {})
        checkpoints.save(8, start.state, {})


@pytest.fixture(scope="module")
def searched(root):
    """The folder of a search that has ended where it began, and its setup."""
    folder, config = root / "search", parse_search(SEARCH).config
    start = setup(config)
    folder.mkdir()
    write_json(folder / "config.json", to_json(config))
    save(folder, start)
    (arch,) = start.seeds.each(start.state.arch)
    GenotypeLog(folder / "genotype.json").finish(start.method.discretize(arch))
    return folder, start


@pytest.fixture(scope="module")
def training(root):
    """The same of a training."""
    folder = root / "training"
    write_json(
        root / "toy.json", {"space": "toy", "cells": {"normal": CELL, "reduce": CELL}}
    )
    command = parse_train([str(root / "toy.json"), *TRAIN])
    config, genotype = command.config, command.genotype
    folder.mkdir()
    write_json(folder / "config.json", recipe_to_json(config, genotype))
    start = trained.train_setup(config, genotype)
    save(folder, start)
    score = EpochScore(1, 1.0, 0.5, 0.9)
    result = TrainResult(
        "tiny", 0, genotype, start.parameters, "test", 360, 0.1, 8, score, score
    )
    write_json(folder / "result.json", result.to_json())
    return folder, start


def fallen_back(state, start, log):
    """What is wrong with a state that was read."""
    if digest(state) == digest(start.state):
        return None
    older = start.state._replace(step=start.state.step + 1)
    said = "8: damaged" in log and "continuing from step 4" in log
    return None if said and digest(state) == digest(older) else "another state"


def every_checkpoint_file(folder, place, read, caplog):
    """``read(run)`` is what is wrong with a run whose newest checkpoint is damaged."""
    wrong, back = [], 0
    files = files_of(folder / "checkpoints" / "8")
    for file in files:
        for alter in DAMAGES:
            run = copy_of(folder, place)
            alter(run / "checkpoints" / "8" / file)
            caplog.clear()
            text = read(run)
            back += "continuing from step 4" in caplog.text
            if text:
                wrong.append(f"{file}, {alter.__name__}: {text[-400:]}")
    assert files and not wrong, names_of(wrong)
    assert back >= 5  # it went on from the checkpoint before


def test_perturb_reads_every_checkpoint(
    searched, tmp_path, monkeypatch, capsys, caplog
):
    (folder, start), seen = searched, []
    monkeypatch.setattr(perturb, "setup", lambda config: start)

    def started(config, options, start, state, own, say):
        seen.append(state)
        raise Reached

    monkeypatch.setattr(rounds, "Rounds", started)

    def read(run):
        seen.clear()
        _, _, text = ending(perturb.main, [run], capsys)
        return text or (fallen_back(seen[0], start, caplog.text) if seen else None)

    assert read(folder) is None and not caplog.text
    every_checkpoint_file(folder, tmp_path / "run", read, caplog)


def test_export_reads_every_checkpoint(training, tmp_path, monkeypatch, capsys, caplog):
    (folder, start), seen = training, []
    monkeypatch.setattr(trained, "train_setup", lambda config, genotype: start)

    def given(config, start, w, model_state, images):
        seen.append((w, model_state))
        raise Reached

    monkeypatch.setattr(trained, "_logits", given)
    expected = start.state.average or (start.state.w, start.state.model_state)

    def read(run):
        seen.clear()
        _, _, text = ending(export.main, [run], capsys)
        same = not seen or digest(seen[0]) == digest(expected)
        return text or (None if same else "other weights")

    assert read(folder) is None and seen
    every_checkpoint_file(folder, tmp_path / "run", read, caplog)


# --- exports ---


@pytest.fixture(scope="module")
def exported(training, root):
    """A folder of exports, and how to write more into it."""
    folder, start = training
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trained, "train_setup", lambda config, genotype: start)
        patch.setattr(trained, "_logits", lambda *args: np.zeros((1, 10), np.float32))
        network = load_trained(folder)
        assert isinstance(network, Trained)
        patch.setattr(export, "load_trained", lambda run, seed: network)
        program = Format("network.jax", lambda network: b"a program", None, {})
        patch.setitem(exports.FORMATS, "jax", program)
        out = root / "exported"
        assert run_command(export.main, [str(folder), "--out", str(out)]) == 0
        yield out, [folder, "--formats", "npz", "--out"]


def test_another_export_beside_a_damaged_one(exported, tmp_path, capsys):
    """Record and files agree afterwards, or nothing was written."""
    folder, arguments = exported
    wrong, done = [], 0
    for file in files_of(folder):
        for alter in alterations(file):
            run = copy_of(folder, tmp_path / "run")
            alter(run / file)
            before = {p: p.read_bytes() for p in run.iterdir() if readable(p)}
            status, _, text = ending(export.main, [*arguments, run], capsys)
            done += 1
            if text is None and status == 2:
                now = {p: p.read_bytes() for p in run.iterdir() if readable(p)}
                text = None if now == before else "half written"
            elif text is None:
                record = json.loads((run / "export.json").read_text())
                there = {p.name for p in run.iterdir()} - {"export.json"}
                named = {row["file"] for row in record["files"].values()}
                expected = named == there or file.name == "export.json"
                text = None if expected and named <= there else f"{named}, {there}"
            if text:
                wrong.append(f"{file}, {alter.__name__}: {text[-400:]}")
    assert done > 30 and not wrong, names_of(wrong)


def readable(path):
    try:
        return path.is_file() and path.read_bytes() is not None
    except OSError:
        return False


def test_damaged_weights_are_refused(exported, tmp_path):
    expected = read_weights(exported[0] / "weights.npz")
    refused = 0
    for alter in (*ANY, *map(one_byte, range(2, 60))):
        run = copy_of(exported[0], tmp_path / "run")
        alter(run / "weights.npz")
        try:
            found = read_weights(run / "weights.npz")
        except UserError as error:
            refused += 1
            assert str(error).startswith(str(run)) and "\n" not in str(error)
        else:  # a byte that nobody reads
            assert digest(found) == digest(expected), alter.__name__
    assert refused > 40


# --- perturbations that go on ---


def measured(self, mixes):
    """Of some mixing weights always the same."""
    if not measured.left:
        raise Reached
    measured.left -= 1
    value = float(sum(np.sum(np.arange(a.size) * a.ravel()) for a in mixes[0].values()))
    return [Evaluation(np.float32(value), np.float32(8.0), np.float32(32.0))]


@pytest.fixture
def perturbing(searched, monkeypatch):
    """Arguments of a command that compiles and trains nothing."""
    monkeypatch.setattr(perturb, "setup", lambda config: searched[1])
    monkeypatch.setattr(rounds.Rounds, "_compile", lambda self: None)
    monkeypatch.setattr(rounds.Rounds, "_measure", measured)
    monkeypatch.setattr(rounds, "jax", perturbing_jax)
    return ["--epochs-between", "0"]


perturbing_jax = CompilingOnce()


def test_a_perturbation_that_goes_on(
    searched, perturbing, tmp_path, monkeypatch, capsys, caplog
):
    """From all that it had decided, or from an earlier round, which it says."""
    measured.left = 1000
    whole = copy_of(searched[0], tmp_path / "whole")
    assert ending(perturb.main, [whole, *perturbing], capsys)[0] == 0
    record = whole / "perturbation" / "perturbation.json"
    decisions = json.loads(record.read_text())["decisions"]
    measured.left = 10  # two rounds and a part of the third
    begun = copy_of(searched[0], tmp_path / "begun")
    assert ending(perturb.main, [begun, *perturbing], capsys)[0] is None
    newest = max(int(f.name) for f in (begun / "perturbation/checkpoints").iterdir())
    assert 2 <= newest < len(decisions)
    seen = []

    def goes_on(self, kept, meta):
        (own,) = self._own
        seen.append(own.decisions)
        raise Reached

    monkeypatch.setattr(rounds.Rounds, "proceed", goes_on)
    wrong, done, back = [], 0, 0
    for file in files_of(begun / "perturbation" / "checkpoints" / str(newest)):
        for alter in DAMAGES:
            run = copy_of(begun, tmp_path / "run")
            alter(run / "perturbation" / "checkpoints" / str(newest) / file)
            seen.clear()
            caplog.clear()
            _, _, text = ending(perturb.main, [run, *perturbing], capsys)
            done += 1
            if seen and seen[0] != decisions[: len(seen[0])]:
                text = "other decisions"
            elif seen and len(seen[0]) < newest and "damaged" not in caplog.text:
                text = "does not say that it goes back"
            back += bool(seen) and len(seen[0]) < newest
            if text:
                wrong.append(f"{file}, {alter.__name__}: {text[-400:]}")
    assert done >= 40 and back > 10 and not wrong, names_of(wrong)


# --- comparisons that go on ---


def pretended(config, start, folder, say):
    """In place of training: accuracies that follow from the network's name."""
    seeds = config.seeds or (config.seed,)
    value = 0.25 + len(config.name) / 100
    results = []
    for seed in seeds:
        score = EpochScore(1, 1.0, value + seed / 1000, 0.9)
        GenotypeLog(folder.part(f"seed_{seed}", {}).genotype).finish(start.genotype)
        results.append(
            TrainResult(
                *(config.name, seed, start.genotype, 99, "test", 360, 0.1, 8),
                *(score, score),
            )
        )
    return results, 0


@pytest.fixture(scope="module")
def compared(searched, training, root):
    """The folder of a comparison, and the command that goes on with it."""
    with pytest.MonkeyPatch.context() as patch:
        first = functools.cache(lambda: training[1])

        def started(config, genotype):
            return first()._replace(config=config, genotype=genotype)

        patch.setattr(compare, "train_setup", started)
        patch.setattr(trainings, "train_setup", started)
        patch.setattr(trainings, "run_training", pretended)
        patch.setattr(trainings.jax, "clear_caches", lambda: None)
        patch.setattr(plan, "network_cost", costs_once(plan.network_cost))
        sizes = "--random 2 --retrainings 2 --tolerance 9 --channels 2 --layers 1"
        words = [searched[0], *sizes.split(), "--data.limit", "64", "--run-dir"]
        out = root / "comparison"
        assert run_command(compare.main, [str(w) for w in [*words, out]]) == 0
        yield out, words


def costs_once(function):
    known = {}

    def costs(genotype, shape):
        key = json.dumps(genotype.to_json()) + repr(shape)
        if key not in known:
            known[key] = function(genotype, shape)
        return known[key]

    return costs


def test_a_comparison_that_goes_on(compared, tmp_path, capsys):
    """It says the same as before, or in one line what is damaged."""
    folder, words = compared
    expected = (folder / "compare.json").read_bytes()
    files = [f for f in files_of(folder) if len(f.parts) == 1]
    network = folder / "trainings" / "search_0"
    files += [(network / name).relative_to(folder) for name in (CONFIG, RESULT)]
    wrong, done, refused = [], 0, 0
    for file in files:
        for alter in alterations(file):
            run = copy_of(folder, tmp_path / "comparison")
            alter(run / file)
            status, _, text = ending(compare.main, [*words, run], capsys)
            done, refused = done + 1, refused + (status == 2)
            if text is None and status == 0:
                same = (run / "compare.json").read_bytes() == expected
                text = None if same else "another outcome"
            if text:
                wrong.append(f"{file}, {alter.__name__}: {text[-400:]}")
    assert done > 60 and refused < done and not wrong, names_of(wrong)
