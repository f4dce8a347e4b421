"""``python -m jdarts.latency``: what it measures, in which unit, for whom."""

import json
import types

import pytest

from jdarts import latency
from jdarts.cli import run_command
from jdarts.hardware import read_latencies
from jdarts.latency import main
from jdarts.spaces import TOY

SIZE = "--space toy --channels 4 --layers 3 --classes 3 --image 8 8 1".split()


@pytest.fixture
def fake(monkeypatch):
    """Nothing is compiled; every program takes 2 ms."""
    program = types.SimpleNamespace(call=None)
    monkeypatch.setattr(latency, "compile_timed", lambda *args: program)
    monkeypatch.setattr(latency, "median_seconds", lambda *args, budget: 2e-3)


def test_a_table_that_hardware_reads(fake, tmp_path, capsys):
    file = tmp_path / "table.json"
    assert run_command(main, ["--out", str(file), *SIZE]) == 0
    table = read_latencies(file, "--hardware.latency-table")
    assert table == json.loads(file.read_text())
    assert table["space"] == "toy" and table["network"]["channels"] == 4
    names = {entry["primitive"] for entry in table["entries"]}
    assert names == {*TOY.cells["reduce"].primitives} - {"none"}
    for entry in table["entries"]:
        free = entry["primitive"] == "skip_connect" and entry["stride"] == 1
        assert entry["milliseconds"] == (0 if free else 2)
    assert table["fixed_milliseconds"] % 2 == 0 < table["fixed_milliseconds"]
    out = capsys.readouterr().out
    assert f"{len(table['entries'])} primitives at their places" in out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ("--budget 0", "--budget: 0.0; expected more than 0"),
        ("--layers 0", "layers: 0"),
        ("--space darts_rnn", "darts_rnn"),
    ],
)
def test_refused(arguments, part, fake, tmp_path, capsys):
    file = tmp_path / "table.json"
    assert run_command(main, ["--out", str(file), *arguments.split()]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and part in err and not file.exists()
