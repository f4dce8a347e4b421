"""Six kills of the real command: all runs end as unbroken ones."""

import json
import random
import shutil

import kills
import numpy as np
import orbax.checkpoint as ocp
import pytest

KINDS = ("search", "train", "recurrent")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Where the unbroken runs are kept."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def trained(work):
    """An unbroken training, and what is compared of it."""
    with kills.workplace(work):
        expected, seconds, rows = kills.unbroken("train", work)
    assert seconds > 0 and rows == 99  # of 96 steps and 3 epochs
    return work / "unbroken_train", expected


def test_six_kills(work, tmp_path, capsys):
    file = tmp_path / "rows.json"
    given = ["--kills", "6", "--only", *KINDS, "--folder", str(work)]
    assert kills.main([*given, "--json", str(file)]) == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["kind"] for row in rows] == [*KINDS, *KINDS]
    assert all(row["equal"] and row["different"] == [] for row in rows)
    assert any(row["resumed"] > 0 for row in rows)
    assert capsys.readouterr().out.count("True") == 6
    assert not [path for path in work.iterdir() if path.name.startswith("tmp")]


def test_all_that_a_run_leaves_is_compared(trained):
    run, expected = trained
    assert kills.different(expected, kills.contents(run)) == []
    files = {p.name for p in run.iterdir() if p.is_file()}
    assert files - expected.keys() == {"timing.jsonl", "report.html", ".lock"}
    kept = [n.removeprefix("checkpoints/96: ") for n in expected if ":" in n]
    for part in ("w.", "opt.", "average.", "model_state.", "notes"):
        assert any(name.startswith(part) for name in kept), kept


@pytest.mark.parametrize("name", ["metrics.jsonl", "genotype.json", "result.json"])
def test_a_changed_byte_of_a_file_is_named(name, trained, tmp_path):
    run, expected = trained
    copy = shutil.copytree(run, tmp_path / "run")
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    assert kills.different(expected, kills.contents(copy)) == [name]
    (copy / name).unlink()
    assert kills.different(expected, kills.contents(copy)) == [name]


def test_a_changed_bit_of_an_array_is_named(trained, tmp_path):
    """The last one of one number, in a checkpoint that is whole."""
    run, expected = trained
    copy = shutil.copytree(run, tmp_path / "run")
    folder = copy / "checkpoints" / "96" / "state"
    with ocp.StandardCheckpointer() as checkpointer:
        state = {n: np.array(leaf) for n, leaf in checkpointer.restore(folder).items()}
        number, array = next((n, a) for n, a in state.items() if a.ndim == 4)
        array[-1, -1, -1, -1] = np.nextafter(array[-1, -1, -1, -1], np.inf)
        checkpointer.save(folder, state, force=True)
    notes = json.loads((folder.parent / "meta" / "metadata").read_text())
    path = json.loads(notes["content"])["leaves"][int(number)][0]
    changed = kills.different(expected, kills.contents(copy))
    assert changed == [f"checkpoints/96: {path}"]


def test_a_difference_is_reported(monkeypatch, capsys):
    found = [kills.Kill("train", "after row 1", 0, ["metrics.jsonl"])]
    monkeypatch.setattr(
        kills, "measure", lambda args: list(map(kills._row, [1], found))
    )
    assert kills.main(["--kills", "1"]) == 1
    assert "metrics.jsonl" in capsys.readouterr().out


def test_the_moments_follow_the_seed(monkeypatch, tmp_path):
    """The same seed asks for the same moments."""

    class Ended:
        returncode = -9

        def poll(self):
            return 0

        def send_signal(self, number):
            pass

        def communicate(self):
            return "", ""

    monkeypatch.setattr(kills, "start", lambda *args: Ended())
    monkeypatch.setattr(kills.time, "sleep", lambda seconds: None)
    (tmp_path / "config.json").write_text("{}")
    asked = [
        [
            kills.kill("search", tmp_path, tmp_path, draw, 5.0, 99).split(":")[0]
            for draw in [random.Random(seed)] * 20
        ]
        for seed in (1, 1, 2)
    ]
    assert asked[0] == asked[1] != asked[2]
    assert {"row" in moment for moment in asked[0]} == {True, False}
