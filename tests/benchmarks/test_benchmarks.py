"""Every benchmark runs at a tiny size, prints a table and writes whole rows."""

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import compile_time
import harness
import jax
import memory
import methods
import ops
import pipeline
import pytest
import retrain
import rnn
import scaling
import start
import step_time
import steps
import torch_plan
from cell import Cell, multiply_adds
from cell import main as cell_main
from helpers import torch_or_skip

from jdarts import UserError
from jdarts.cli import run_command
from jdarts.spaces import DARTS_CNN, TOY, CellSpec

FOLDER = Path(harness.__file__).parent
TINY = "--space toy --batch 2 --channels 2".split()
NET = [*TINY, "--layers", "2"]
ONCE = ["--rounds", "1", "--no-torch"]
FIRST = ["--only", "first order"]
KEYS = {
    "name",
    "seconds",
    "ratio_to_torch",
    "trace_seconds",
    "compile_seconds",
    "peak_bytes",
    "versions",
    "cpu",
    "threads",
    "load",
    "settings",
}


@pytest.fixture
def results(tmp_path, capsys):
    """``results(main, *arguments)``: {row name: row}, and the table is printed."""

    def run(main, *arguments):
        file = tmp_path / "rows.json"
        file.unlink(missing_ok=True)  # rows are appended
        assert main([*arguments, "--json", str(file)]) == 0
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        _, *table = capsys.readouterr().out.splitlines()
        for row, line in zip(rows, table, strict=True):
            assert line.startswith(row["name"])
            assert KEYS <= row.keys()
            for key in ("seconds", "trace_seconds", "compile_seconds", "peak_bytes"):
                value = row[key]
                assert value is None or (value > 0 and math.isfinite(value)), (key, row)
        return {row["name"]: row for row in rows}

    return run


def test_retrain(results):
    (row,) = results(retrain.main, *"--batch 2 --channels 2 --layers 3".split(),
                     *ONCE).values()  # fmt: skip
    assert row["seconds"] and row["compile_seconds"] and row["ratio_to_torch"] is None


def test_ops(results):
    rows = results(ops.main, *"--batch 1 --channels 2 --edges 1 --stride 1".split(),
                   *ONCE, "--only", "max_pool_3x3")  # fmt: skip
    assert [*rows] == [f"max_pool_3x3, stride 1, {order}" for order in ops.ORDERS]
    assert all(row["seconds"] and row["peak_bytes"] for row in rows.values())


def test_cell(results):
    rows = results(cell_main, *TINY, *ONCE, "--partial", "2")
    wide, narrow = rows["normal C=2, forward"], rows["normal C=1, forward"]
    assert wide["parts_seconds"] > 0 and "time_share" not in wide
    assert narrow["time_share"] == narrow["seconds"] / wide["seconds"]
    assert 1 / 4 < narrow["work_share"] < 1 / 2  # between C^2 and C


def test_step_time(results):
    rows = results(step_time.main, *NET, *ONCE, "--only", "weights only")
    row = rows["weights only"]
    assert row["seconds"] and row["ratio_to_torch"] is None
    assert row["settings"]["layers"] == 2 and row["versions"]["jax"]


def test_every_method_has_a_step():
    """What `methods` times when it is given no names."""
    args = methods.parser().parse([*TINY, "--channels", "4", "--layers", "2"])
    assert {"darts", "asap", "p_darts"} < set(args.only)
    for name in args.only:
        run, arguments = methods.whole_step(name, steps.size_of(args))
        after, before = jax.eval_shape(run, *arguments), arguments[1]
        assert jax.tree.structure(before) == jax.tree.structure(after)


def test_methods(results):
    rows = results(methods.main, *NET, "--rounds", "1", "--only", "darts", "gdas")
    assert set(rows) == {
        "darts, step",
        "gdas, step",
        "darts, weight step",
        "gdas, weight step",
    }
    for name, row in rows.items():
        base = rows[f"darts, {name.split(', ')[1]}"]
        assert row["ratio_to_darts"] == row["seconds"] / base["seconds"]
    assert rows["gdas, weight step"]["memory_to_darts"] < 1


def test_pipeline(results):
    rows = results(pipeline.main, *NET, "--rounds", "1", "--images", "8",
                   "--step", "weights only")  # fmt: skip
    row = rows["input path"]
    assert row["images_per_second"] == pytest.approx(2 * 2 / row["seconds"])
    assert rows["step"]["percent_of_step"] == 100


def test_scaling(results):
    rows = results(
        scaling.main, *NET, *ONCE, "--step", "weights only", "--vary", "batch",
        "--points", "2",
    )  # fmt: skip
    assert rows["batch 2"]["exponent"] is None  # of one point


def test_exponent():
    assert scaling.exponent([1, 2, 4], [3.0, 12.0, 48.0]) == pytest.approx(2)


def test_nodes_and_other_quantities():
    args = scaling.parser().parse(NET)
    size = scaling.size_at("nodes", 3, args)
    assert {spec.nodes for spec in size.space.cells.values()} == {3}
    assert {spec.nodes for spec in TOY.cells.values()} == {2}  # as it was
    assert scaling.size_at("layers", 7, args).layers == 7


def test_compile_time_and_memory(results, monkeypatch):
    """Their processes are stood in for: a start of jax takes seconds."""
    asked = []

    def ask_child(script, *arguments, **environment):
        asked.append((Path(script).name, environment["XDG_CACHE_HOME"]))
        assert "--child" in arguments
        parts = ("kernels", "trace", "lower", "compile", "first_step", "start")
        times = dict.fromkeys(parts, 1.0)
        return times | {"peak_bytes": 1, "resident": 2 + len(asked), "planned": 1}

    monkeypatch.setattr(compile_time, "ask_child", ask_child)
    rows = results(compile_time.main, *NET, *FIRST)
    assert [*rows] == ["first order, cold", "first order, warm"]
    assert rows["first order, cold"]["trace_seconds"] == 2.0
    assert asked[0] == asked[1]  # one cache folder

    monkeypatch.setattr(memory, "ask_child", ask_child)
    rows = results(memory.main, *NET, *FIRST, "--no-torch")
    assert [*rows][-2:] == ["first order", "first order, remat"]
    assert rows["first order"]["peak_bytes"] == 6  # the second process's


def test_memory_child(capsys):
    assert (
        memory.main([*NET, "--only", "weights only", "--remat", "no", "--child"]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["resident"] > found["planned"] > 0


def test_a_script_by_itself():
    """The huge pages, the exit status and the error, in a process."""
    command = [sys.executable, str(FOLDER / "step_time.py"), "--rounds", "0"]
    done = subprocess.run(command, capture_output=True, text=True)
    expected = "error: --rounds: 0; expected a whole number >= 1\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


@pytest.mark.parametrize(
    ("main", "arguments", "expected"),
    [
        (step_time.main, "--batch x", "--batch: x; expected a whole number >= 1"),
        (step_time.main, "--space tox", "unknown 'tox'; did you mean 'toy'?"),
        (step_time.main, "--only first", "--only: unknown 'first'; did you mean"),
        (step_time.main, "--round 1", "unrecognized arguments: --round 1"),
        (step_time.main, "--json /no/such/file", "--json: /no/such/file; expected"),
        (ops.main, "--only sep_conv_3", "did you mean 'sep_conv_3x3'?"),
        (ops.main, "--stride 3", "--stride: invalid choice: 3"),
        (cell_main, "--partial 5", "--partial: 5; expected a divisor of --channels"),
        (scaling.main, "--points 1 2", "--points: found with 5 quantities to vary"),
        (scaling.main, "--vary devices --batch 2", "--batch: 2; expected a multiple"),
        (pipeline.main, "--images 9", "--images: 9; expected at least two batches"),
        (memory.main, "--layers 0", "--layers: 0; expected a whole number >= 1"),
        (compile_time.main, "--only 3", "--only: unknown '3'"),
    ],
)
def test_errors(main, arguments, expected, capsys):
    assert run_command(main, arguments.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and expected in err
    assert err.startswith("error: ") and err.count("\n") == 1


# --- PyTorch -------------------------------------------------------------------------


def test_without_torch(monkeypatch, capsys):
    monkeypatch.setattr(harness.importlib.util, "find_spec", lambda name: None)
    with harness.torch_process(True) as process:
        assert process is None
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert "pip install 'jdarts[bench]'" in err


def test_torch_process(monkeypatch):
    """One of each kind of thing is built and timed."""
    torch_or_skip()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    plan = torch_plan.make_plan(TOY, 2, 1, 10)
    with harness.torch_process(True) as process:
        step = process.make(
            "step",
            step="finite difference",
            plan=torch_plan.to_json(plan),
            batch=2,
            compiled=False,
            channels_last=True,
        )
        op = {"edges": 2, "channels": 2, "stride": 1, "batch": 1}
        candidates = {"step": step}
        for order in ops.ORDERS:
            for name in ("avg_pool_3x3", "conv_7x1_1x7"):
                candidates[name + order] = process.make(
                    "op", name=name, order=order, **op
                )
        candidates["cell"] = process.make(
            "cell",
            plan=torch_plan.to_json(plan.cells[0]),
            widths=[4, 4],
            batch=1,
            order="gradient",
        )
        assert all(s > 0 for s in harness.medians(candidates, 2).values())
        assert process.peak_bytes() > 2**20


def test_a_torch_process_that_fails():
    torch_or_skip()
    with harness.torch_process(True) as process, pytest.raises(UserError, match="end"):
        process.make("step")


def test_plan_is_the_supernet():
    """Cells as `jdarts.supernet` lays them out, through JSON and back."""
    plan = torch_plan.make_plan(DARTS_CNN, 16, 8, 10)
    data = json.loads(json.dumps(torch_plan.to_json(plan)))
    assert torch_plan.from_json(data) == plan
    assert plan.stem == 48
    found = [(c.kind, c.channels, c.stride, c.halve_first) for c in plan.cells]
    normal, reduce = ("normal", 16, 1, False), ("reduce", 32, 2, False)
    assert found[:4] == [normal, normal, reduce, ("normal", 32, 1, True)]
    assert plan.cells[0].edges == list(DARTS_CNN.cells["normal"].edges)


# --- shared parts --------------------------------------------------------------------


def test_medians_take_turns():
    order = []

    class Fake:
        def __init__(self, name, times):
            self.name, self.times = name, iter(times)

        def seconds(self):
            order.append(self.name)
            return next(self.times)

    # Every other call warms up and does not count.
    a, b = Fake("a", [99, 1.0, 99, 5.0, 99, 2.0]), Fake("b", [99, 3.0, 99, 3.0, 99, 9])
    assert harness.medians({"a": a, "b": b}, 3) == {"a": 2.0, "b": 3.0}
    assert order == ["a", "a", "b", "b"] * 3


def test_multiply_adds():
    """Of one separable op on one edge: adapters, depthwise and pointwise products."""
    spec = CellSpec(primitives=("none", "dil_conv_3x3"), nodes=1)
    cell = Cell("normal", spec, channels=4, batch=1)
    adapters = 32 * 32 * 4 * (4 + 4)
    assert multiply_adds(cell) == adapters + 2 * 32 * 32 * (9 * 4 + 4 * 4)


def test_table(capsys):
    harness.print_table(("what", "x"), [("a", 0.12345), ("bcdef", None), ("g", 1234.5)])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["what       x", "a      0.123", "bcdef      -", "g       1234"]


# --- recurrent cells ---

TINY_TEXT = "--units 4 --batch 4 --length 3 --vocabulary 12".split()


def test_recurrent_steps(results):
    torch_or_skip()
    rows = results(rnn.main, *TINY_TEXT, "--rounds", "1", "--only", "first order")
    assert set(rows) == {"first order", "torch: first order"}
    assert rows["first order"]["ratio_to_torch"] > 0


def test_recurrent_compile_times(results):
    rows = results(
        rnn.main, *TINY_TEXT, *FIRST, "--compile-only", "2", "3", "--no-torch"
    )
    assert set(rows) == {"first order, length 2", "first order, length 3"}


def test_recurrent_baseline_computes_the_same():
    """The same weights, segment and loss, without dropout: equal gradients."""
    torch = torch_or_skip()
    import jax
    import jax.numpy as jnp
    import numpy as np
    import torch_rnn
    from helpers import assert_close

    from jdarts.data import Segment
    from jdarts.nets.language import language_model
    from jdarts.nets.recurrent import Dropout, mixed_recurrent
    from jdarts.problem import Passage, next_token
    from jdarts.relaxation import softmax
    from jdarts.spaces import DARTS_RNN
    from jdarts.types import Arch

    torch.manual_seed(0)
    theirs = torch_rnn.RecurrentSupernet(12, 4)
    search = torch_rnn.Search(theirs, dropout=False)
    tokens = torch.randint(12, (4, 5))
    text = torch_rnn.Text(tokens[:-1], tokens[1:], torch.randn(5, 4))
    loss = search.loss(text)
    gradients = torch.autograd.grad(loss, [theirs.alpha, *search.weights])
    named = [n for n, _ in theirs.named_parameters() if n != "alpha"]
    found = dict(zip(["alpha", *named], (g.numpy() for g in gradients), strict=True))

    array = lambda p: jnp.asarray(p.detach().numpy())  # noqa: E731
    w = {
        "embedding": array(theirs.embedding),
        "decoder_bias": array(theirs.bias),
        "first": array(theirs.first),
        "nodes": jnp.stack([array(p) for p in theirs.nodes]),
    }
    network = mixed_recurrent(DARTS_RNN, vocabulary=12, units=4, dropout=Dropout())
    problem = next_token(language_model(network, lambda step: 1.0), softmax().weights)
    segment = Segment(
        *(jnp.asarray(t.numpy(), jnp.int32) for t in text[:2]), jnp.int32(3), False
    )
    passage = Passage(segment, jnp.asarray(text.hidden.numpy()), jnp.int32(0))
    arch = Arch({"recurrent": array(theirs.alpha)}, {})
    value, (g, galpha) = jax.jit(jax.value_and_grad(problem.loss, (0, 1)))(
        w, arch, passage
    )
    assert_close(value, loss.item(), 1e-5)
    assert_close(galpha.alpha["recurrent"], found["alpha"], 1e-3)
    assert_close(g["embedding"], found["embedding"], 1e-3)
    assert_close(g["first"], found["first"], 1e-3)
    nodes = np.stack([found[f"nodes.{i}"] for i in range(8)])
    assert_close(g["nodes"], nodes, 1e-3)


_OTHER = """#!{python}
import pathlib, sys
if "--help" in sys.argv:
    sys.exit("no help" if "broken" in sys.argv[0] else 0)
if "-c" in sys.argv:
    sys.exit(print("0.25"))
run = pathlib.Path(sys.argv[sys.argv.index("--run-dir") + 1])
run.mkdir()
(run / "timing.jsonl").write_text(
    '{{"kind": "start"}}\\n'
    '{{"kind": "compile", "trace_seconds": 2.0, "compile_seconds": 3.0}}\\n'
)
print("epoch 1/9  step 1/4  train 2.0", flush=True)
print("epoch 1/9: train loss 2.0", flush=True)
import time
time.sleep(600)
"""


@pytest.fixture
def another(tmp_path):
    """A program that answers as a Python with another jdarts would."""

    def make(name):
        path = tmp_path / name
        path.write_text(_OTHER.format(python=sys.executable))
        path.chmod(0o755)
        return str(path)

    return make


def test_start(results, another, monkeypatch):
    monkeypatch.setattr(start.sys, "executable", another("ours"))
    rows = results(start.main, "--against", another("theirs"))
    parts = [f"{p}, {t}" for t in ("cold", "warm") for p in start._PARTS[2:]]
    assert [*rows] == ["help", "kernels, cold", "kernels, warm", *parts]
    assert rows["kernels, cold"]["seconds"] == 0.25  # what it tells, not the process
    assert (rows["trace, cold"]["seconds"], rows["compile, warm"]["seconds"]) == (2, 3)
    first = rows["first step, cold"]
    assert first["cpu_seconds"] > 0 and first["seconds"] < 60  # it did not sleep
    assert first["ratio"] == first["seconds"] / first["against_seconds"]


def test_start_of_ours(results):
    rows = results(start.main, "--only", "help")
    assert rows["help"]["cpu_seconds"] > 0.1


def _ended(pid):
    """Whether it has; it may wait to be asked for by its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][1] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_start_leaves_nothing_running(error, monkeypatch, tmp_path):
    """Of what it measures, whatever happens while it reads."""
    program = (
        "import os, subprocess, time\n"
        "other = subprocess.Popen(['sleep', '600'], process_group=0)\n"
        "print(os.getpid(), other.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    begun = []

    class Interrupted:
        def __init__(self, process):
            self.lines = process.stdout
            self.close = self.lines.close

        def __iter__(self):
            begun.extend(self.lines.readline().split())
            raise error

    monkeypatch.setattr(start, "_lines", Interrupted)
    for measured in start.run, start.until_first_step:
        with pytest.raises(error):
            measured([sys.executable, "-c", program], tmp_path)
    assert len(begun) == 4
    for _ in range(1000):  # a signal takes its time
        if all(map(_ended, begun)):
            break
        time.sleep(0.01)
    assert all(map(_ended, begun))


def test_start_tells_what_failed(another, monkeypatch):
    monkeypatch.setattr(start.sys, "executable", another("broken"))
    with pytest.raises(UserError, match="--help: ended with status 1 .*, expected 0$"):
        start.main(["--only", "help"])
    with pytest.raises(UserError, match="--against: /nowhere; expected a Python"):
        start.main(["--against", "/nowhere"])
