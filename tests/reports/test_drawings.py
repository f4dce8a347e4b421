"""Cells and metrics in the formats of other programs."""

import re
import struct
import sys

import pytest
from folders import config, make_run

from jdarts import Genotype
from jdarts.cli import run_command
from jdarts.io import read_metrics
from jdarts.report import main


@pytest.fixture
def run(tmp_path):
    make_run(tmp_path / "run")
    return tmp_path / "run"


def test_dot_has_every_connection(run):
    assert run_command(main, [str(run), "--cells", "dot"]) == 0
    for kind, cell in Genotype.load(run / "genotype.json").cells.items():
        text = (run / f"cell_{kind}.dot").read_text()
        names = ["c_{k-2}", "c_{k-1}", *map(str, range(len(cell.nodes)))]
        found = re.findall(r'"(.*?)" -> "(.*?)" \[label="(.*?)"\];', text)
        assert found == [
            (names[c.source], names[target], c.primitive)
            for target, node in enumerate(cell.nodes, start=2)
            for c in node
        ]
        outputs = re.findall(r'"(.*?)" -> "c_\{k\}";', text)
        assert outputs == [names[node] for node in cell.concat]
        assert text.startswith(f'digraph "tiny: {kind} cell" {{') and text[-2:] == "}\n"


def test_png_has_the_drawings_size(run):
    pytest.importorskip("resvg_py", reason="the extra draw is not installed")
    assert run_command(main, [str(run), "--cells", "svg", "png"]) == 0
    for kind in ("normal", "reduce"):
        svg = (run / f"cell_{kind}.svg").read_text()
        png = (run / f"cell_{kind}.png").read_bytes()
        width, height = re.search(r'width="(\d+)" height="(\d+)"', svg).groups()
        assert png[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", png[16:24]) == (2 * int(width), 2 * int(height))
        assert len(png) > 1000  # something is drawn


def test_each_seed_has_its_drawings(tmp_path):
    run = tmp_path / "run"
    make_run(run, settings=config(seed=None, seeds=(1, 2)))
    assert run_command(main, [str(run), "--cells", "dot"]) == 0
    assert len(list(run.glob("seed_*/cell_*.dot"))) == 4


def test_tensorboard_has_every_number(run):
    """Read back with the format's own framing: length, its checksum, an event."""
    pytest.importorskip("tensorboardX", reason="the extra tensorboard is not installed")
    from tensorboardX.proto.event_pb2 import Event

    for _ in range(2):  # the second time replaces the first
        assert run_command(main, [str(run), "--tensorboard"]) == 0
    (file,) = (run / "tensorboard").iterdir()
    data, found = file.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + length])
        found += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
        data = data[16 + length :]
    expected = [
        (row["step"], name, pytest.approx(value))
        for row in read_metrics(run / "metrics.jsonl")
        for name, value in row.items()
        if name not in ("kind", "step")
    ]
    assert found == expected


@pytest.mark.parametrize(
    "options, module, part",
    [
        ("--cells png", "resvg_py", "expected an installation with the extra draw"),
        ("--tensorboard", "tensorboardX", "with the extra tensorboard"),
        ("--cells pgn", None, "--cells: unknown 'pgn'; did you mean 'png'?"),
    ],
)
def test_errors(run, monkeypatch, capsys, options, module, part):
    if module:
        monkeypatch.setitem(sys.modules, module, None)
    before = sorted(run.rglob("*"))
    assert run_command(main, [str(run), *options.split()]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and part in said
    assert sorted(run.rglob("*")) == before


@pytest.mark.parametrize("option", ["--cells dot", "--tensorboard"])
def test_nothing_to_draw_yet(tmp_path, capsys, option):
    make_run(tmp_path / "run", epochs=0, finished=False)
    assert run_command(main, [str(tmp_path / "run"), *option.split()]) == 2
    assert "yet; expected a run" in capsys.readouterr().err
