"""Six kills of the real command: all runs end as unbroken ones."""

import json
import random

import kills
import pytest

KINDS = ("search", "train", "recurrent")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Where the unbroken runs are kept; and their own cache of compiled programs."""
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("cache")
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(cache))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        yield tmp_path_factory.mktemp("work")


def test_six_kills(work, tmp_path, capsys):
    file = tmp_path / "rows.json"
    given = ["--kills", "6", "--only", *KINDS, "--folder", str(work)]
    assert kills.main([*given, "--json", str(file)]) == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["kind"] for row in rows] == [*KINDS, *KINDS]
    assert all(row["equal"] and row["different"] == [] for row in rows)
    assert capsys.readouterr().out.count("True") == 6
    assert not [path for path in work.iterdir() if path.name.startswith("tmp")]


def test_a_difference_is_found(work):
    """Of a row, of an array's last bit, of a file that is not there."""
    with kills.workplace(work):
        expected, seconds, rows = kills.unbroken("search", work)
    run = work / "unbroken_search"
    assert kills.contents(run) == expected and seconds > 0 and rows > 96
    arrays = [name for name in expected if ": array " in name]
    assert len(arrays) > 20 and "checkpoints/96: notes" in expected
    text = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(text[:-1])
    (run / "summary.txt").unlink()
    now = kills.contents(run)
    different = {n for n in {*expected, *now} if expected.get(n) != now.get(n)}
    assert different == {"metrics.jsonl", "summary.txt"}


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
