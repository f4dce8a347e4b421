"""Kill the command at several moments: it ends as if nothing had happened."""

import json
import signal
import time

import numpy as np
import pytest
from search_runs import OFTEN, PER_EPOCH, STEPS, assert_same_run, last_checkpoint

from jdarts import UserError
from jdarts.io import Checkpoints, read_metrics


def rows(folder):
    """Steps whose metrics are on disk."""
    try:
        return sum(
            row["kind"] == "step" for row in read_metrics(folder / "metrics.jsonl")
        )
    except UserError:
        return 0


def saved(folder):
    """Steps that have a whole checkpoint."""
    return [f.name for f in (folder / "checkpoints").iterdir() if f.name.isdigit()]


def epochs(folder):
    try:
        return len(json.loads((folder / "genotype.json").read_text())["epochs"])
    except OSError:
        return 0


def signal_when(process, moment, number):
    """Sends a signal as soon as `moment()` holds; returns what the process wrote."""
    while not moment():
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err, err
    return out, err


@pytest.fixture(scope="module")
def broken(start_search, tmp_path_factory):
    """A run that was killed three times and terminated once, and what was said."""
    folder, said = tmp_path_factory.mktemp("runs") / "broken", []
    moments = {
        "while compiling": lambda: (folder / "checkpoints").is_dir(),
        "inside the first epoch": lambda: rows(folder) >= 3 and saved(folder),
        "right after the first epoch": lambda: epochs(folder) == 1,
    }
    for name, moment in moments.items():
        process = start_search(folder, *OFTEN)
        out, _ = signal_when(process, moment, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL, name
        assert epochs(folder) <= 1 and ("compiled" in out) == (
            name != "while compiling"
        )
        said.append(out)
    process = start_search(folder)  # saves only at the end of an epoch, and when told
    out, err = signal_when(process, lambda: rows(folder) > PER_EPOCH, signal.SIGTERM)
    said.append(out)
    stopped = process.returncode, out, err, last_checkpoint(folder).step, rows(folder)
    process = start_search(folder)
    said.append(process.communicate(timeout=120)[0])
    assert process.returncode == 0
    return folder, said, stopped


def test_ends_as_the_unbroken_run(broken, unbroken):
    assert_same_run(broken[0], unbroken)


def test_resumes_from_the_last_checkpoint(broken):
    _, said, stopped = broken
    assert not any("resuming" in out for out in said[:2])
    assert all("resuming" in out for out in said[2:])
    assert f"at step {stopped[3]}\n" in said[-1]


def test_timing_counts_every_step_once(broken):
    parts = [r for r in read_metrics(broken[0] / "timing.jsonl") if r["kind"] == "part"]
    assert sum(row["steps"] for row in parts) == STEPS
    assert [row["step"] for row in parts] == list(
        np.cumsum([row["steps"] for row in parts])
    )
    assert {row["epoch"] for row in parts} == {1, 2, 3}


def test_terminated_saves_and_says_so(broken):
    status, out, err, saved, logged = broken[2]
    assert status == 128 + signal.SIGTERM
    assert err == ""
    line = out.splitlines()[-1]
    assert line.startswith(f"stopped by a signal at step {saved}, everything saved")
    assert out.count("stopped by a signal") == 1
    assert PER_EPOCH < saved < STEPS and logged == saved  # nothing done was lost


def test_repeating_a_finished_run_changes_nothing(unbroken, search, capsys):
    def contents():
        files = [f for f in unbroken.rglob("*") if f.is_file() and f.name != ".lock"]
        return {f: f.read_bytes() for f in files}

    before = contents()
    assert search(unbroken) == 0
    out = capsys.readouterr().out
    assert "compiled" not in out and "supernet accuracy" in out
    assert contents() == before


def test_a_trial_can_be_repeated_and_extended(unbroken, search, tmp_path):
    """--steps ends inside an epoch; more steps go on from there."""
    trial = tmp_path / "trial"
    for _ in range(2):
        assert search(trial, "--steps", "5") == 0
        assert last_checkpoint(trial).step == rows(trial) == 5
        genotypes = json.loads((trial / "genotype.json").read_text())
        assert genotypes["final"] and [e["epoch"] for e in genotypes["epochs"]] == [1]
    assert search(trial) == 0
    assert_same_run_but_for_the_extra_row(trial, unbroken)


def assert_same_run_but_for_the_extra_row(trial, unbroken):
    """The trial's end was recorded, apart from the epochs."""
    a, b = (read_metrics(folder / "metrics.jsonl") for folder in (trial, unbroken))
    assert [row["kind"] for row in a].count("stop") == 1
    assert [row for row in a if row["kind"] != "stop"] == b
    with Checkpoints(trial / "checkpoints") as checkpoints:
        assert checkpoints.latest() == STEPS
    for name in ("genotype.json", "arch.jsonl"):
        assert (trial / name).read_bytes() == (unbroken / name).read_bytes()
