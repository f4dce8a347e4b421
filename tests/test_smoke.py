"""The command for a look: what it says as it goes on, and what it finds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import jdarts

# Every phase is said at once, however short; see `jdarts.phase`.
SCRIPT = """
import contextlib, sys
import jdarts.phase

class Said(jdarts.phase.Phases):
    @contextlib.contextmanager
    def phase(self, what, first=1.0):
        self._write(f"{what} ...\\n")
        yield
        self._write(f"{what}: done\\n")

jdarts.phase.Phases = Said
from jdarts.__main__ import main
sys.exit(main(["search", "smoke", "--run-dir", sys.argv[1]]))
"""


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """(folder, lines) of the command with an empty cache, its output into a pipe."""
    root = tmp_path_factory.mktemp("smoke")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, root / "run"],
        capture_output=True,
        text=True,
        env=os.environ
        | {"PYTHONPATH": str(Path(jdarts.__file__).parents[1])}
        | {"XDG_CACHE_HOME": str(root / "cache"), "JDARTS_NATIVE": "0"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return root / "run", done.stdout.splitlines()


def test_every_part_is_said(smoke):
    _, lines = smoke
    begun = [line.removesuffix(" ...") for line in lines if line.endswith(" ...")]
    assert lines.count("evaluating: done") == begun.count("evaluating")
    for name in begun:  # each with its end
        assert lines.count(f"{name} ...") == lines.count(f"{name}: done"), name
    first = begun.index("computing steps")
    assert begun[:first] == [
        *("reading the data", "making the first weights"),
        *("reading the checkpoint", "writing the checkpoint"),  # is there one?
        *("loading a compiled program", "tracing", "compiling") * 2,
    ]
    assert {"evaluating", "writing the checkpoint"} < set(begun[first:])
    assert begun[-1] == "writing the report"


def test_what_stays_is_in_order(smoke):
    folder, lines = smoke
    epochs = json.loads((folder / "config.json").read_text())["epochs"]
    kept = [
        *("reading the data: done", "making the first weights: done"),
        *("compiled search step: ", "compiled validation: "),
        *(f"epoch {number}/{epochs}: train loss" for number in range(1, epochs + 1)),
        *("writing the report: done", "search 'smoke': ", f"written to {folder}"),
    ]
    places = [
        next(i for i, line in enumerate(lines) if line.startswith(start))
        for start in kept
    ]
    assert places == sorted(places)


def test_it_ends_above_the_most_frequent_class(smoke):
    folder, _ = smoke
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    last = [row for row in rows if "supernet_accuracy" in row][-1]
    assert last["supernet_accuracy"] > 1.5 * last["majority_accuracy"]
