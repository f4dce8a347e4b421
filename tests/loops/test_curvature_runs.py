"""Searches that measure their curvature, and stop because of it."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compiled_once
from search_runs import cached_in

import jdarts
import jdarts.search
from jdarts import UserError, compile
from jdarts.cli import parse_search, run_command
from jdarts.data import augment_spec, normalise
from jdarts.io import Checkpoints, read_metrics
from jdarts.loops.setup import setup

PER_EPOCH, EPOCHS = 4, 5
# It stops as soon as it may: after three measurements, with the first one's genotype.
RUN = (
    "smoke --channels 2 --layers 1 --batch-size 8 --data.limit 64 --log-every 1 "
    f"--epochs {EPOCHS} --method.hypergradient.name first_order --method.init-scale 1 "
    "--curvature.every 1 --curvature.stop 1e-9 --curvature.window 1 --curvature.back 2 "
    "--curvature.start 1 --curvature.iterations 30 --drop-path.rate 0.3 "
    "--method.weights.weight-decay-last 1e-3"
).split()
LAST, RESULT = 3, 1


@pytest.fixture(scope="module")
def run(cache):
    """``run(folder, *arguments)`` in float64: the exit status; compiles once."""
    made = {}

    def run(folder, *arguments):
        with jax.enable_x64(True), cached_in(cache), compiled_once(made):
            command = [*RUN, *arguments, "--run-dir", str(folder)]
            return run_command(jdarts.search.main, command)

    return run


@pytest.fixture(scope="module")
def stopped(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    assert run(folder) == 0
    return folder


def epochs(folder):
    rows = read_metrics(folder / "metrics.jsonl")
    return [row for row in rows if row["kind"] == "epoch"]


def test_stops_with_an_earlier_genotype(stopped):
    rows = epochs(stopped)
    assert [row["epoch"] for row in rows] == [1, 2, LAST]
    assert [row.get("result_epoch") for row in rows] == [None, None, RESULT]
    first, _, last = (row["curvature"] for row in rows)
    assert rows[-1]["growth"] == pytest.approx(last / first, rel=1e-12)
    stored = json.loads((stopped / "genotype.json").read_text())
    assert stored["final"] == stored["epochs"][RESULT - 1]["genotype"]
    for row, epoch in zip(rows, stored["epochs"], strict=True):
        nodes = epoch["genotype"]["cells"]["reduce"]["nodes"]
        skips = sum(edge[0] == "skip_connect" for node in nodes for edge in node)
        assert row["skips_reduce"] == skips and "skips_normal" not in row
    said = (stopped / "summary.txt").read_text()
    assert f"{LAST * PER_EPOCH} steps" in said
    assert f"stopped after epoch {LAST}" in said and f"of epoch {RESULT}" in said
    report = (stopped / "report.html").read_text()
    assert "Curvature over the epochs" in report and "Stopped early" in report


def test_a_cap_of_skip_connections_reaches_the_genotype():
    """Of the normal cell; a network without one has nothing to cap."""
    base = [*RUN[:2], "2", "--batch-size", "8", "--data.limit", "64"]
    for cap in (0, 1):
        capped = [*base, "--layers", "3", "--max-skips", str(cap)]
        start = setup(parse_search(capped).config)
        cell = start.method.discretize(start.state.arch).cells["normal"]
        assert sum(c.primitive == "skip_connect" for c in cell.connections) <= cap
    with pytest.raises(UserError, match="--max-skips: has no effect on 2 cells"):
        setup(parse_search([*base, "--layers", "2", "--max-skips", "1"]).config)


def test_eigenvalue_is_that_of_the_dense_hessian(stopped, x64):
    """Of the loss written out, in all 30 directions, in float64."""
    config = parse_search(RUN).config
    start = setup(config)
    with Checkpoints(stopped / "checkpoints") as checkpoints:
        state = checkpoints.restore(start.state).state
    half = np.asarray(start.data.valid)[: config.batch_size]
    spec = augment_spec(config.data, start.images)
    images = normalise(jnp.asarray(start.images.train_images[half]), spec, jnp.float64)
    labels = start.images.train_labels[half]
    network = jdarts.supernet(
        jdarts.get_space("toy"), channels=2, layers=1, classes=start.images.num_classes
    )
    kinds = sorted(state.arch.alpha)
    shapes = {kind: state.arch.alpha[kind].shape for kind in kinds}

    def loss(flat):
        mix, place = {}, 0
        for kind in kinds:
            size = shapes[kind][0] * shapes[kind][1]
            rows = flat[place : place + size].reshape(shapes[kind])
            mix[kind], place = jax.nn.softmax(rows, axis=1), place + size
        logits, _ = network.apply(state.w, None, mix, images, True)
        return -jax.nn.log_softmax(logits)[np.arange(len(labels)), labels].mean()

    flat = jnp.concatenate([state.arch.alpha[kind].ravel() for kind in kinds])
    gradient = compile.jit(jax.grad(loss))
    step = 1e-5  # central differences: error about 1e-10 in float64
    columns = [
        (gradient(flat + step * unit) - gradient(flat - step * unit)) / (2 * step)
        for unit in np.eye(len(flat))
    ]
    hessian = np.array(columns)
    expected = np.linalg.eigvalsh((hessian + hessian.T) / 2)[-1]
    assert epochs(stopped)[-1]["curvature"] == pytest.approx(expected, rel=1e-5)


def test_resumed_just_before_and_at_its_end(run, stopped, tmp_path):
    folder = tmp_path / "run"
    assert run(folder, "--steps", str(LAST * PER_EPOCH - 1)) == 0
    assert not any("result_epoch" in row for row in epochs(folder))
    for _ in range(2):  # the second time there is nothing left to do
        assert run(folder) == 0
        assert len(epochs(folder)) == LAST
        for name in ("genotype.json", "arch.jsonl", "summary.txt"):
            found, expected = (f / name for f in (folder, stopped))
            assert found.read_bytes() == expected.read_bytes(), name
    with Checkpoints(folder / "checkpoints") as checkpoints:
        assert checkpoints.latest() == LAST * PER_EPOCH


def test_seeds_end_as_they_would_alone(run, stopped, tmp_path):
    folder = tmp_path / "both"
    assert run(folder, "--seeds", "2", "7") == 0
    names = [f"seed {seed} stopped after epoch {LAST}" for seed in (2, 7)]
    said = (folder / "summary.txt").read_text()
    assert all(name in said for name in names)
    found = folder / "seed_2"
    assert (found / "genotype.json").read_bytes() == (
        stopped / "genotype.json"
    ).read_bytes()
    for row, expected in zip(epochs(found), epochs(stopped), strict=True):
        assert row["curvature"] == pytest.approx(expected["curvature"], rel=1e-6)
    assert epochs(folder / "seed_7")[0]["curvature"] != row["curvature"]


def test_methods_without_a_gradient(tmp_path, capsys):
    arguments = "smoke --method random --channels 2 --layers 1 --curvature.every 1"
    command = [*arguments.split(), "--run-dir", str(tmp_path / "run")]
    assert run_command(jdarts.search.main, command) == 2
    assert "--curvature.every: this --method learns" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
