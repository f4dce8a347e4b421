"""A search in stages: one folder, one report; resumed in any of them."""

import json

import jax
import numpy as np
import pytest
from helpers import compiled_once
from search_runs import cached_in

import jdarts.search
from jdarts.cli import parse_search, run_command
from jdarts.io import Checkpoints, read_metrics
from jdarts.loops.setup import setup, setup_stage
from jdarts.loops.stages import read_stage
from jdarts.perturb import main as perturb_main
from jdarts.spaces import TOY

PER_EPOCH, STAGE_EPOCHS = 4, 2
RUN = (
    "smoke --channels 2 --layers 1 --batch-size 8 --data.limit 64 --log-every 1 "
    f"--epochs {2 * STAGE_EPOCHS} --method p_darts --method.added-layers 0 1 "
    "--method.dropped 1 --method.skip-dropout 0.0 0.4 --method.warmup 0.5 "
    "--method.arch.lr 0.5 --drop-path.rate 0.2"
).split()


@pytest.fixture(scope="module")
def run(cache):
    """``run(folder, *arguments)``: the exit status; compiles each program once."""
    made = {}

    def run(folder, *arguments):
        with cached_in(cache), compiled_once(made):
            command = [*RUN, *arguments, "--run-dir", str(folder)]
            return run_command(jdarts.search.main, command)

    return run


@pytest.fixture(scope="module")
def unbroken(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    assert run(folder) == 0
    return folder


def second_start(folder):
    config = parse_search(RUN).config
    first = setup(config)
    stage = read_stage(config, folder / "stages.json", first.stage)
    return setup_stage(config, first, stage)


def test_two_stages_in_one_folder(unbroken):
    """The second one has what the weights after the first one leave."""
    stages = json.loads((unbroken / "stages.json").read_text())
    assert [row["epochs"] for row in stages] == [[1, 2], [3, 4]]
    rows = read_metrics(unbroken / "metrics.jsonl")
    steps = [row["step"] for row in rows if row["kind"] == "step"]
    assert steps == list(range(1, 2 * STAGE_EPOCHS * PER_EPOCH + 1))
    rates = [row["lr"] for row in rows if row["kind"] == "step"]
    assert rates[8:] == rates[:8]  # schedules begin again
    # Steps that train the weights alone, the first half of a stage, judge nothing.
    judged = ([False] * PER_EPOCH + [True] * PER_EPOCH) * 2
    assert ["valid_loss" in row for row in rows if row["kind"] == "step"] == judged
    means = ["epoch_valid_loss" in row for row in rows if row["kind"] == "epoch"]
    assert means == judged[::PER_EPOCH]
    archs = read_metrics(unbroken / "arch.jsonl")
    assert [row["epoch"] for row in archs] == [1, 2, 3, 4]
    # All cells of its two networks are reductions: a normal one is not found, and loses
    # nothing in between.
    assert stages[1]["primitives"]["normal"] == stages[0]["primitives"]["normal"]
    assert {*archs[0]["mix"]} == {"reduce"}
    for kind, spec in [("reduce", TOY.cells["reduce"])]:
        mix = [np.array(row["mix"][kind]) for row in archs]
        assert (mix[0] > 0).all() and (mix[1] > 0).all()
        lost = np.arange(3) == mix[1].argmin(1)[:, None]
        for later in (2, 3):
            np.testing.assert_array_equal(mix[later] == 0, lost)
            np.testing.assert_allclose(mix[later].sum(1), 1, rtol=1e-6)
        kept = stages[1]["primitives"][kind]
        names = [
            [n for n, x in zip(spec.primitives, row, strict=True) if not x]
            for row in lost
        ]
        assert kept == names
        cell = json.loads((unbroken / "genotype.json").read_text())["final"]
        for rows, node in zip(
            spec.node_slices, cell["cells"][kind]["nodes"], strict=True
        ):
            assert all(name in kept[rows.start + source] for name, source in node)
    report = (unbroken / "report.html").read_text()
    assert "Stages" in report and "Stage 2" in report


def test_ends_as_the_unbroken_run(run, unbroken, tmp_path):
    """Stopped at the end of the first stage, and inside the second one."""
    folder = tmp_path / "broken"
    for epochs in (2, 3):
        assert run(folder, "--steps", str(epochs * PER_EPOCH)) == 0
        assert (folder / "checkpoints_2").is_dir() == (epochs > 2)
    assert run(folder, "--steps", str(2 * PER_EPOCH)) == 2  # it is further
    assert run(folder) == 0
    for name in ("genotype.json", "metrics.jsonl", "arch.jsonl", "stages.json"):
        assert (folder / name).read_bytes() == (unbroken / name).read_bytes(), name
    start, states = second_start(folder), []
    for one in (folder, unbroken):
        with Checkpoints(one / "checkpoints_2") as checkpoints:
            states.append(checkpoints.restore(start.state))
    assert states[0].step == states[1].step == 2 * STAGE_EPOCHS * PER_EPOCH
    assert states[0].state.step == STAGE_EPOCHS * PER_EPOCH
    for a, b in zip(*(jax.tree.leaves(s.state) for s in states), strict=True):
        np.testing.assert_array_equal(a, b)


def test_perturbation_is_refused(unbroken, capsys):
    assert run_command(perturb_main, [str(unbroken)]) == 2
    assert "a search in stages" in capsys.readouterr().err
