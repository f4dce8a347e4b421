"""Runs that go on although their records were damaged: what is lost is said.

All is real (folders, records, checkpoints) but what is compiled: a step changes nothing
and measures the same each time. `test_reading` has what only reads.
"""

import functools

import numpy as np
import pytest
from alterations import copy_of, cut, deleted, emptied, one_byte, replaced_by_a_folder
from alterations import values as all_values
from judging import CompilingOnce, ending

import jdarts.search
import jdarts.train
from jdarts.cli import run_command
from jdarts.compile import Compiled
from jdarts.io import Checkpoints, read_json, read_metrics, write_json
from jdarts.loops import run as loops_run
from jdarts.loops.chunk import MAX_STEPS
from jdarts.problem import Evaluation
from jdarts.training import Scores

SEARCH = (
    "smoke --channels 2 --layers 2 --batch-size 8 --data.limit 64 --log-every 1 "
    "--epochs 3 --method.hypergradient.name first_order"
).split()
TRAIN = (
    "train_digits --channels 2 --layers 1 --batch-size 8 --data.limit 32 --log-every 1 "
    "--epochs 3"
).split()
CELL = {"nodes": [[["sep_conv_3x3", 0], ["skip_connect", 1]]], "concat": [2]}
PER_EPOCH, STEPS = 4, 12
MEASURED = ("train_loss", "train_accuracy", "valid_loss", "gradient_norm", "lr")


def fake_program(folder, fun, *args, **options):
    """Of a chunk of steps, which donates its state, or of an evaluation."""
    del folder, fun
    chunk = "donate_argnums" in options

    def lead():
        several = np.ndim(args[1 if chunk else 0].step)
        return args[1 if chunk else 0].step.shape if several else ()

    def steps(key, state, data, number):
        log = {n: np.full((*lead(), MAX_STEPS), 1.5) for n in MEASURED}
        return state, log

    def evaluate(state, data, first, number):
        sums = [np.full(lead(), value) for value in (16.0, 8.0, 32.0)]
        if hasattr(state, "arch"):
            return Evaluation(*sums)
        taken = np.broadcast_to(np.diag([8.0] + 9 * [0.0]), (*lead(), 10, 10))
        return Scores(*sums[:2], correct5=sums[1], count=sums[2], confusion=taken)

    seconds = dict.fromkeys(Compiled._fields, 1.0)
    call = steps if chunk else evaluate
    return Compiled(**seconds | {"call": call, "temp_bytes": None})


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """``command(kind, folder, *arguments)``: its main function and what it takes."""
    root = tmp_path_factory.mktemp("genotype")
    write_json(
        root / "toy.json", {"space": "toy", "cells": {"normal": CELL, "reduce": CELL}}
    )
    commands = {
        "search": (jdarts.search.main, SEARCH),
        "seeds": (jdarts.search.main, [*SEARCH, "--seeds", "0", "1"]),
        "training": (jdarts.train.main, [str(root / "toy.json"), *TRAIN]),
    }
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((jdarts.search, "setup"), (jdarts.train, "train_setup")):
            patch.setattr(module, name, remembered(getattr(module, name)))
        patch.setattr(loops_run, "compile_stored", fake_program)
        patch.setattr(loops_run, "jax", CompilingOnce())

        def command(kind, folder, *more):
            main, given = commands[kind]
            return main, [*given, "--run-dir", folder, *more]

        yield command


def end(main, arguments):
    return run_command(main, list(map(str, arguments)))


def remembered(setup):
    """What a configuration starts from: the same for all runs of it."""
    found = {}

    def once(config, *rest):
        key = repr((config.seeds, config.seed))
        if key not in found:
            found[key] = setup(config, *rest)
        return found[key]

    return functools.wraps(setup)(once)


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory):
    """``whole(kind, steps)``: a folder of a run that has done so many steps."""
    root, made = tmp_path_factory.mktemp("whole"), {}

    def folder(kind, steps=STEPS):
        path = root / f"{kind}-{steps}"
        if path not in made:
            assert end(*command(kind, path, "--steps", str(steps))) == 0
            made[path] = True
        return path

    return folder


def records(folder):
    names = ("metrics.jsonl", "arch.jsonl", "genotype.json", "timing.jsonl")
    found = [p for n in (*names, "config.json", "result.json") for p in folder.rglob(n)]
    return [
        path.relative_to(folder) for path in found if "checkpoints" not in path.parts
    ]


ALTERATIONS = (
    deleted,
    emptied,
    cut,
    replaced_by_a_folder,
    one_byte(0),
    all_values("numbers", "text"),
)
KEPT = {"metrics.jsonl", "arch.jsonl", "genotype.json"}


@pytest.mark.parametrize(
    ("kind", "steps"),
    [("search", STEPS), ("search", 6), ("seeds", STEPS), ("training", 6)],
)
def test_every_alteration(kind, steps, whole, command, tmp_path, capsys):
    wrong, done = [], 0
    for file in records(whole(kind, steps)):
        if file.parts[0] == "seed_1":
            continue  # as seed_0
        for alter in ALTERATIONS if kind == "search" else ALTERATIONS[:3]:
            run = copy_of(whole(kind, steps), tmp_path / "run")
            alter(run / file)
            status, out, text = ending(*command(kind, run), capsys)
            done += 1
            if text is None and status == 0:
                text = unsaid(out, run, file, alter, kind)
            if text:
                wrong.append(f"{file}, {alter.__name__}: {text}")
    assert not wrong and done >= 12, f"{len(wrong)} of {done}:\n" + "\n".join(wrong)


def unsaid(out, run, file, alter, kind):
    """What a resumed run does not say of what is lost; None if it says all."""
    healed = kind == "training" and file.name == "genotype.json"
    if alter not in (deleted, emptied, cut) or file.name not in KEPT or healed:
        return None
    said = f"{run / file}: lacks"
    if said not in out:
        return f"does not say '{said}': {out}"
    if f"incomplete: {said}" not in (run / "summary.txt").read_text():
        return "the summary does not say it"
    return None


@pytest.mark.parametrize("name", sorted(KEPT))
def test_what_is_lost_is_named(name, whole, command, tmp_path, capsys):
    """Which file, how many rows, and which epochs; also after another resume."""
    run = copy_of(whole("search", 8), tmp_path / "run")
    if name == "genotype.json":
        data = read_json(run / name)
        write_json(run / name, data | {"epochs": data["epochs"][1:]})
        lost = f"{run / name}: lacks 1 of 2 rows up to step 8, also of epoch 1"
    else:
        rows = (run / name).read_text().splitlines(keepends=True)
        first = [i for i, row in enumerate(rows) if '"epoch"' in row][0]
        (run / name).write_text("".join(rows[:first] + rows[first + 1 :]))
        total = len(rows)
        lost = f"{run / name}: lacks 1 of {total} rows up to step 8, also of epoch 1"
    assert end(*command("search", run, "--steps", "10")) == 0
    assert capsys.readouterr().out.splitlines().count(lost) == 1
    # The checkpoint of step 10 has not got it either.
    assert end(*command("search", run)) == 0
    assert f"incomplete: {lost}" in capsys.readouterr().out
    assert f"incomplete: {lost}" in (run / "summary.txt").read_text()
    page = (run / "report.html").read_text()
    assert f"{name}: lacks epoch 1" in page


def test_a_changed_row_is_named(whole, command, tmp_path, capsys):
    run = copy_of(whole("search", 8), tmp_path / "run")
    text = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(text.replace("1.5", "1.25", 1))
    assert end(*command("search", run)) == 0
    line = (
        f"{run / 'metrics.jsonl'}: differs from what the run had written up to step 8"
    )
    assert line in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("kind", "steps"),
    [("search", 3), ("search", 6), ("search", 8), ("search", STEPS), ("seeds", 8)]
    + [("training", 6), ("training", 8)],
)
def test_nothing_is_said_of_a_whole_record(
    kind, steps, whole, command, tmp_path, capsys, caplog
):
    """Wherever the run was stopped; at an epoch's end it ends as one that was not."""
    run = copy_of(whole(kind, steps), tmp_path / f"{kind}-{STEPS}")
    capsys.readouterr()
    for _ in range(2):
        assert end(*command(kind, run)) == 0
    out = capsys.readouterr().out
    assert "lacks" not in out and "differs" not in out and "incomplete" not in out
    assert not caplog.records, caplog.text  # also by the report
    for file in records(run):
        # One inside an epoch leaves the row of that.
        if file.name in KEPT and steps % PER_EPOCH == 0:
            expected = (whole(kind) / file).read_bytes()
            assert (run / file).read_bytes() == expected


def test_the_pins_of_a_checkpoint(whole):
    with Checkpoints(whole("search") / "checkpoints") as checkpoints:
        meta, _ = checkpoints._read_meta(STEPS)
    rows = read_metrics(whole("search") / "metrics.jsonl")
    pins = meta["records"]
    assert pins["metrics.jsonl"]["rows"] == len(rows) - 1 and pins["arch.jsonl"]["last"]
    assert pins["genotype.json"]["rows"] == 3


def test_times_never_end_a_run(whole, command, tmp_path, caplog):
    """Nor does one flipped bit in them end a finished search."""
    for steps in (6, STEPS):
        run = copy_of(whole("search", steps), tmp_path / "run")
        content = bytearray((run / "timing.jsonl").read_bytes())
        content[3] ^= 0x80
        (run / "timing.jsonl").write_bytes(content)
        assert end(*command("search", run)) == 0
        assert "timing.jsonl" in caplog.text
        (run / "timing.jsonl").unlink()
        (run / "timing.jsonl").mkdir()
        assert end(*command("search", run)) == 0


def test_every_file_of_a_checkpoint(whole, command, tmp_path, capsys):
    """The run goes on from an earlier one, or says why it cannot."""
    newest = whole("search", 8) / "checkpoints" / "8"
    expected = (whole("search", 8) / "metrics.jsonl").read_bytes()
    files = [p.relative_to(newest) for p in newest.rglob("*") if p.is_file()]
    wrong, good = [], 0
    for file in files:
        for alter in (deleted, cut, one_byte(1)):
            run = copy_of(whole("search", 8), tmp_path / "search-8")
            alter(run / "checkpoints" / "8" / file)
            status, _, text = ending(*command("search", run, "--steps", "8"), capsys)
            good += status == 0
            if text is None and status == 0:
                same = (run / "metrics.jsonl").read_bytes() == expected
                text = None if same else "other metrics"
            if text:
                wrong.append(f"{file}, {alter.__name__}: {text}")
    assert good > len(files) and not wrong, "\n".join(wrong)
