"""What a finished run leaves in its folder."""

import json
import math
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from search_runs import BASE, EPOCHS, PER_EPOCH, STEPS, base_setup, last_checkpoint

from jdarts import Batch, Genotype, derive_genotype, get_space, jit
from jdarts.cli import parse_search
from jdarts.config import load_config
from jdarts.data import augment_spec, normalise
from jdarts.io import read_metrics

STEP_NUMBERS = {
    "train_loss",
    "train_accuracy",
    "valid_loss",
    "gradient_norm",
    "arch_gradient_norm",
    "lr",
}


@pytest.fixture(scope="module")
def rows(unbroken):
    return read_metrics(unbroken / "metrics.jsonl")


def test_files(unbroken):
    names = {"config.json", "metrics.jsonl", "genotype.json", "checkpoints", ".lock"}
    names |= {"arch.jsonl", "timing.jsonl", "report.html"}
    names |= {"summary.txt", "data.json"}
    names |= {"cell_normal.svg", "cell_reduce.svg"}
    assert {path.name for path in unbroken.iterdir()} == names
    saved = {path.name for path in (unbroken / "checkpoints").iterdir()}
    assert saved == {str(epoch * PER_EPOCH) for epoch in EPOCHS}


def test_rows_of_steps(rows):
    steps = [row for row in rows if row["kind"] == "step"]
    assert [row["step"] for row in steps] == list(range(1, STEPS + 1))
    for row in steps:
        assert row.keys() == {"kind", "step", *STEP_NUMBERS}
        assert all(math.isfinite(row[name]) for name in STEP_NUMBERS)
    assert steps[0]["lr"] == pytest.approx(0.1)
    assert steps[-1]["lr"] == pytest.approx(0.02575)  # the cosine at 2/3


def test_every_so_many_steps(search, unbroken, rows, tmp_path):
    assert search(tmp_path / "run", "--log-every", "5", "--steps", "12") == 0
    found = read_metrics(tmp_path / "run" / "metrics.jsonl")
    kept = [row for row in rows if row["kind"] == "step" and row["step"] in (5, 10)]
    assert [row for row in found if row["kind"] == "step"] == kept


def test_rows_of_epochs(rows):
    for epoch in EPOCHS:
        end = epoch * PER_EPOCH
        place = next(i for i, row in enumerate(rows) if row.get("epoch") == epoch)
        row, before = rows[place], rows[place - PER_EPOCH : place]
        assert row["kind"] == "epoch" and row["step"] == end
        for name in ("train_loss", "train_accuracy", "valid_loss"):
            mean = sum(step[name] for step in before) / PER_EPOCH
            assert row[f"epoch_{name}"] == pytest.approx(mean, rel=1e-12)
        assert 0 < row["supernet_accuracy"] < 1
        assert row["supernet_loss"] > 0
    assert sum(row["kind"] == "epoch" for row in rows) == len(EPOCHS)


def test_supernet_accuracy_is_that_of_the_saved_state(unbroken, rows):
    """Again, of all images of the half at once."""
    start, saved = base_setup(), last_checkpoint(unbroken)
    config = parse_search(BASE).config
    half = np.asarray(start.data.valid)
    spec = augment_spec(config.data, start.images)
    images = normalise(jnp.asarray(start.images.train_images[half]), spec)
    batch = Batch(images, start.images.train_labels[half])
    found = jit(start.method.evaluate)(saved.state, batch, np.ones(len(half)))
    assert saved.step == saved.state.step == STEPS
    assert rows[-1]["supernet_accuracy"] == float(found.correct) / len(half)
    assert rows[-1]["supernet_accuracy"] == saved.meta["measured"]["supernet_accuracy"]
    loss = float(found.loss) / len(half)
    assert rows[-1]["supernet_loss"] == pytest.approx(loss, rel=1e-5)


def test_genotypes(unbroken):
    stored = json.loads((unbroken / "genotype.json").read_text())
    assert [row["epoch"] for row in stored["epochs"]] == list(EPOCHS)
    assert stored["final"] == stored["epochs"][-1]["genotype"]
    state = last_checkpoint(unbroken).state
    derived = base_setup().method.discretize(state.arch)
    assert Genotype.load(unbroken / "genotype.json") == derived


def test_architecture_of_every_epoch(unbroken):
    rows = read_metrics(unbroken / "arch.jsonl")
    assert [row["epoch"] for row in rows] == list(EPOCHS)
    assert [row["step"] for row in rows] == [epoch * PER_EPOCH for epoch in EPOCHS]
    epochs = json.loads((unbroken / "genotype.json").read_text())["epochs"]
    space = get_space("toy")
    for row, stored in zip(rows, epochs, strict=True):
        for kind in space.cells:
            exponentials = np.exp(np.array(row["alpha"][kind]))
            shares = exponentials / exponentials.sum(axis=1, keepdims=True)
            np.testing.assert_allclose(row["mix"][kind], shares, rtol=1e-5)
        assert derive_genotype(space, row["mix"]).to_json() == stored["genotype"]
    saved = last_checkpoint(unbroken).state.arch.alpha
    for kind in space.cells:
        found = np.float32(rows[-1]["alpha"][kind])
        np.testing.assert_array_equal(found, saved[kind])
    assert rows[-1]["beta"] == {}


def test_timing_counts_every_step_once(unbroken):
    rows = read_metrics(unbroken / "timing.jsonl")
    assert [row["kind"] for row in rows[:3]] == ["start", "compile", "compile"]
    start, step, validation, *parts = rows
    assert start["platform"] == "cpu" and start["devices"] == jax.device_count()
    assert start["data_seconds"] > 0 and start["init_seconds"] > 0
    assert (step["program"], validation["program"]) == ("search step", "validation")
    assert 0 < step["lower_seconds"] < step["trace_seconds"]
    assert [row["epoch"] for row in parts] == list(EPOCHS)
    for row in parts:
        assert row["kind"] == "part" and row["steps"] == PER_EPOCH
        for name in ("steps", "record", "evaluation", "checkpoint"):
            assert row[f"{name}_seconds"] > 0


def test_summary_names_accuracy_and_baseline(unbroken, rows):
    text = (unbroken / "summary.txt").read_text()
    labels = base_setup().images.train_labels[base_setup().data.valid].tolist()
    majority = max(map(labels.count, labels)) / len(labels)
    accuracy = rows[-1]["supernet_accuracy"]
    assert f"supernet accuracy on the validation half: {100 * accuracy:.2f} %" in text
    assert f"(always the most frequent class: {100 * majority:.2f} %)" in text
    assert rows[-1]["majority_accuracy"] == majority
    assert f"{STEPS} steps, seed 2" in text
    assert "reduce cell" in text and "normal cell" in text


def test_drawings(unbroken):
    kind = "reduce"
    root = ElementTree.parse(unbroken / f"cell_{kind}.svg").getroot()
    assert root.tag.endswith("svg")
    words = "".join(root.itertext())
    genotype = Genotype.load(unbroken / "genotype.json")
    for connection in genotype.cells[kind].connections:
        assert connection.primitive in words
    assert f"smoke: {kind} cell" in words


def test_the_stored_configuration_is_the_runs(unbroken):
    """config.json can be given as CONFIG."""
    stored = unbroken / "config.json"
    assert load_config(str(stored)) == parse_search(BASE).config
    assert parse_search([str(stored), "--seed", "5"]).config.seed == 5
