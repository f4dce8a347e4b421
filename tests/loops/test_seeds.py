"""Several seeds at once: each as in a run of its own, together killed and resumed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from helpers import assert_close, compiled_once
from search_runs import cached_in

import jdarts.search
from jdarts import Genotype
from jdarts.cli import parse_search, run_command
from jdarts.io import Checkpoints, MetricsLog, read_json, read_metrics
from jdarts.loops.setup import setup

SEEDS = (5, 0)
# By class: the halves differ from seed to seed.
SMALL = (
    "smoke --channels 2 --layers 1 --batch-size 8 --data.limit 128 "
    "--log-every 1 --epochs 2 --method.hypergradient.name first_order"
).split()
POPULATION = [*SMALL, "--seeds", *map(str, SEEDS)]
PER_EPOCH, STEPS = 8, 16
OFTEN = ("--checkpoint-minutes", "1e-9")
RESULTS = ("metrics.jsonl", "arch.jsonl", "genotype.json", "summary.txt", "config.json")


class Runs:
    """Runs of the command in this process, in float64; programs are made once."""

    def __init__(self, cache):
        self.cache, self.single, self.several = cache, {}, {}

    def __call__(self, folder, *arguments):
        """The exit status."""
        made = self.several if "--seeds" in arguments else self.single
        with jax.enable_x64(True), cached_in(self.cache), compiled_once(made):
            return run_command(
                jdarts.search.main, [*arguments, "--run-dir", str(folder)]
            )


@pytest.fixture(scope="module")
def runs(cache):
    return Runs(cache)


@pytest.fixture(scope="module")
def population(runs, tmp_path_factory):
    """The folder of a population that nothing interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "population"
    assert runs(folder, *POPULATION) == 0
    return folder


@pytest.fixture(scope="module")
def alone(runs, tmp_path_factory):
    """Seed to the folder of a run of its own."""
    folders = {
        seed: tmp_path_factory.mktemp("runs") / f"alone_{seed}" for seed in SEEDS
    }
    for seed, folder in folders.items():
        assert runs(folder, *SMALL, "--seed", str(seed)) == 0
    return folders


def last_state(folder, arguments):
    """(step, state) of the newest checkpoint."""
    with jax.enable_x64(True), Checkpoints(folder / "checkpoints") as checkpoints:
        restored = checkpoints.restore(setup(parse_search(arguments).config).state)
        return restored.step, jax.device_get(restored.state)


def contents(folder):
    files = [f for f in folder.rglob("*") if f.is_file() and f.name != ".lock"]
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in files}


# --- as in runs of their own ---


@pytest.mark.parametrize("seed", SEEDS)
def test_metrics_are_those_of_a_run_of_its_own(population, alone, seed):
    found, expected = (
        read_metrics(folder / "metrics.jsonl")
        for folder in (population / f"seed_{seed}", alone[seed])
    )
    assert len(found) == len(expected) == STEPS + 2
    for a, b in zip(found, expected, strict=True):
        assert a.pop("kind") == b.pop("kind")
        assert a == pytest.approx(b, rel=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_files_are_those_of_a_run_of_its_own(population, alone, seed):
    found, expected = contents(population / f"seed_{seed}"), contents(alone[seed])
    assert found.keys() - expected.keys() == {"part.txt"}
    missing = expected.keys() - found.keys()
    missing -= {name for name in missing if name.startswith("checkpoints/")}
    # Of all seeds together, in the folder above:
    assert missing == {"timing.jsonl", "report.html", "data.json"}
    for name in found.keys() & expected.keys() - {"metrics.jsonl", "arch.jsonl"}:
        assert found[name] == expected[name], name


@pytest.mark.parametrize("seed", SEEDS)
def test_architectures_are_those_of_a_run_of_its_own(population, alone, seed):
    found, expected = (
        [{name: row[name] for name in ("alpha", "mix")} for row in read_metrics(path)]
        for path in (
            population / f"seed_{seed}" / "arch.jsonl",
            alone[seed] / "arch.jsonl",
        )
    )
    assert len(found) == 2
    assert_close(found, expected, 1e-9)


def test_states_are_those_of_runs_of_their_own(population, alone):
    step, together = last_state(population, POPULATION)
    assert step == STEPS
    for i, seed in enumerate(SEEDS):
        _, expected = last_state(alone[seed], [*SMALL, "--seed", str(seed)])
        found = jax.tree.map(lambda leaf, i=i: leaf[i], together)
        assert found.arch.alpha["normal"].dtype == np.float64
        assert_close(found, expected, 1e-9, f"seed {seed}: ")


def test_seeds_differ(population):
    """The comparisons above would hold if all seeds did the same."""
    losses = [
        tuple(
            row["train_loss"]
            for row in read_metrics(population / f"seed_{seed}" / "metrics.jsonl")
            if row["kind"] == "step"
        )
        for seed in SEEDS
    ]
    assert len(set(losses)) == len(SEEDS)
    with jax.enable_x64(True):
        start = setup(parse_search(POPULATION).config)
    halves = {tuple(half) for half in np.asarray(start.data.valid).tolist()}
    assert len(halves) == len(SEEDS)


def test_one_compilation_for_all_seeds(runs, population):
    assert [name for name, _ in runs.several] == ["chunk", "evaluation"]


# --- what the run's folder holds ---


def test_the_folder(population):
    names = {".lock", "config.json", "checkpoints", "summary.txt"}
    names |= {"timing.jsonl", "report.html", "data.json"}
    assert {f.name for f in population.iterdir()} == names | {
        f"seed_{seed}" for seed in SEEDS
    }
    config = read_json(population / "config.json")
    assert config["seeds"] == list(SEEDS) and "seed" not in config
    alone = read_json(population / "seed_0" / "config.json")
    assert alone["seed"] == 0 and "seeds" not in alone


def test_the_summary(population):
    text = (population / "summary.txt").read_text()
    rows = [
        read_metrics(population / f"seed_{seed}" / "metrics.jsonl")[-1]
        for seed in SEEDS
    ]
    names = ("supernet_accuracy", "skips_reduce")
    figures = np.array([[row[name] for name in names] for row in rows])
    figures[:, 0] *= 100
    table = [*zip(SEEDS, figures, strict=True), ("mean", figures.mean(0))]
    table.append(("std", figures.std(0, ddof=1)))
    for name, values in table:
        cells = [str(name), *(f"{value:.2f}" for value in values)]
        assert re.search(r"^ *" + r" +".join(map(re.escape, cells)) + "$", text, re.M)
    genotypes = {
        (population / f"seed_{seed}" / "genotype.json").read_bytes() for seed in SEEDS
    }
    found = f"{STEPS} steps, {len(SEEDS)} seeds, {len(genotypes)} distinct genotypes"
    assert found in text
    single = (population / "seed_0" / "summary.txt").read_text()
    assert re.search(r"class: [\d.]+ %", single)[0] in text


def test_repeating_a_finished_run_changes_nothing(runs, population, capsys):
    before = contents(population)
    assert runs(population, *POPULATION) == 0
    out = capsys.readouterr().out
    assert "compiled" not in out and "2 seeds, " in out
    assert contents(population) == before


# --- interrupted ---


def assert_same_population(found, expected):
    """Everything that is left is the same, bit for bit."""
    names = ["summary.txt", "config.json"]
    names += [f"seed_{seed}/{name}" for seed in SEEDS for name in RESULTS]
    for name in names:
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name
    (step, state), (last, target) = (
        last_state(folder, POPULATION) for folder in (found, expected)
    )
    assert step == last
    jax.tree.map(np.testing.assert_array_equal, state, target)


def logged(folder):
    """Steps of which the last seed's metrics are on disk."""
    path = folder / f"seed_{SEEDS[-1]}" / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_killed(runs, population, environment, tmp_path, capsys):
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "jdarts.search", *POPULATION, *OFTEN]
        + ["--run-dir", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "JAX_ENABLE_X64": "1"},
    )
    while not (logged(folder) >= 3 and (folder / "checkpoints" / "1").exists()):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL and logged(folder) < STEPS
    capsys.readouterr()
    assert runs(folder, *POPULATION) == 0
    assert f"resuming {folder} at step" in capsys.readouterr().out
    assert_same_population(folder, population)


def test_terminated(runs, population, monkeypatch, tmp_path, capsys):
    folder, original = tmp_path / "run", MetricsLog.append

    def append(log, row):
        original(log, row)
        if row["step"] == 3:
            monkeypatch.setattr(MetricsLog, "append", original)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(MetricsLog, "append", append)
    assert runs(folder, *POPULATION) == 128 + signal.SIGTERM
    said = capsys.readouterr().out.splitlines()[-1]
    step = int(re.match(r"stopped by a signal at step (\d+), everything", said)[1])
    assert 3 <= step < PER_EPOCH
    assert all(
        len(read_metrics(folder / f"seed_{seed}" / "metrics.jsonl")) == step
        for seed in SEEDS
    )
    assert runs(folder, *POPULATION) == 0
    assert_same_population(folder, population)


# --- refused ---


def refused(runs, capsys, folder, *arguments, status=2):
    """The only line that is said."""
    assert runs(folder, *arguments) == status
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("error: "), err
    return err


def test_one_seed_cannot_go_on_alone(runs, population, capsys):
    before, folder = contents(population), population / "seed_0"
    said = refused(runs, capsys, folder, *SMALL, "--seed", "0")
    assert f"{folder}: a part of another run" in said
    assert said.endswith(f"expected the folder of that run, {population}\n")
    assert contents(population) == before


@pytest.mark.parametrize(
    "arguments, parts",
    [
        (("--seeds", "5", "9"), ["seeds: [5, 9] here, [5, 0] in the folder"]),
        (
            ("--seed", "5"),
            ["seed: 5 here, not set in the folder", "seeds: not set here, [5, 0]"],
        ),
    ],
)
def test_other_seeds(runs, population, capsys, arguments, parts):
    before = contents(population)
    said = refused(runs, capsys, population, *SMALL, *arguments)
    assert all(part in said for part in parts), said
    assert contents(population) == before


@pytest.mark.parametrize("where", ["arch", "w"])
def test_one_seed_is_not_finite(runs, capsys, monkeypatch, tmp_path, where):
    """It is named, and the others' rows of earlier steps stay."""

    def poisoned(config):
        start = setup(config)

        def spoil(leaf):
            values = np.array(leaf)
            values[1] = np.nan
            return jax.device_put(values, leaf.sharding)

        parts = {where: jax.tree.map(spoil, getattr(start.state, where))}
        return start._replace(state=start.state._replace(**parts))

    monkeypatch.setattr(jdarts.search, "setup", poisoned)
    folder = tmp_path / "run"
    said = refused(runs, capsys, folder, *POPULATION, status=1)
    assert f"{folder}: seed {SEEDS[1]} not finite at step 1 (" in said
    assert "train_loss nan" in said and "or without that seed" in said
    assert not any((folder / f"seed_{s}" / "genotype.json").exists() for s in SEEDS)


def test_a_checkpoint_that_is_damaged(runs, population, tmp_path, capsys):
    """The population goes on from the one before."""
    folder = shutil.copytree(population, tmp_path / "run")
    meta = folder / "checkpoints" / str(STEPS) / "meta" / "metadata"
    damaged = json.loads(meta.read_text()) | {"crc": 0}
    meta.write_text(json.dumps(damaged))
    assert runs(folder, *POPULATION) == 0
    assert f"resuming {folder} at step {PER_EPOCH}" in capsys.readouterr().out
    shutil.rmtree(folder / "checkpoints" / f"{STEPS}.damaged")
    assert_same_population(folder, population)
    for seed in SEEDS:
        assert Genotype.load(folder / f"seed_{seed}" / "genotype.json").cells
