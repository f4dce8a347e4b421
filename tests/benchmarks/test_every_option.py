"""Every script of ``benchmarks/`` is run, tiny, with every one of its options."""

import argparse
import importlib
import json
import os
import re
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import harness
import pytest
import start
from helpers import torch_or_skip

from jdarts import ZOO
from jdarts.cli import run_command
from jdarts.io import write_json

FOLDER = Path(harness.__file__).parent
OWN = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("*.py")}
MAINS = {path.stem for path in FOLDER.glob("*.py") if '"__main__"' in path.read_text()}
SCRIPTS = MAINS - {"torch_worker"} - OWN
"""All scripts but those with their own file of tests."""
TINY = "--space toy --batch 2 --channels 2"
NET = f"{TINY} --layers 2"
ONCE = "--rounds 1 --no-torch"
TEXT = "--units 4 --batch 4 --length 3 --vocabulary 12"

# Script to the commands that try its options. {tmp} is a folder with the standard files
# of the Penn Treebank; those of TORCH need PyTorch as well.
RUNS = {
    "accelerators": [
        f"{NET} --chip v5e --only 'first order' --dtype default --remat no "
        "--no-largest",
        f"{NET} --chip a100 --only 'first order' --dtype default --largest",
    ],
    "cell": [f"{TINY} {ONCE} --partial 2"],
    "compile_time": [f"{NET} --only 'first order' --remat"],
    "false_alarms": ["--experiments 3 --skewness 1.5 --found-deviation 2"],
    "mask_noise": [f"{TEXT} --draws 2 --steps 1 --data-dir {{tmp}}"],
    "memory": [f"{NET} --no-torch --only 'first order' --remat both"],
    "methods": [f"{NET} --rounds 1 --only gdas"],
    "ops": [
        "--batch 1 --channels 2 --edges 1 --stride 1 --only avg_pool_3x3 " + ONCE,
    ],
    "pipeline": [f"{NET} --rounds 1 --images 8 --step 'weights only' --cutout"],
    "recurrent_cells": [
        "{tmp}/found --out {tmp}/out --random 2 --retrainings 2 -- train_topics"
    ],
    "retrain": [
        f"--genotype NASP_12op --batch 2 --channels 2 --layers 3 --remat --scan {ONCE} "
        "--torch-compile --torch-layout nchw"
    ],
    "rnn": [f"{TEXT} {ONCE} --only 'first order' --compile-only 2"],
    "scaling": [f"{NET} {ONCE} --step 'weights only' --vary batch --points 2"],
    "start": ["--config smoke --only help --rounds 1 --against {python}"],
    "step_time": [f"{NET} {ONCE} --only 'weights only' --remat"],
}
TORCH = {
    "step_time": [
        "--space toy --batch 2 --channels 2 --layers 1 --rounds 1 "
        "--only 'weights only' --torch-compile --torch-layout nchw"
    ],
}


def words(command, folder):
    return shlex.split(command.format(tmp=folder, python=sys.executable))


def module(name, monkeypatch):
    if name == "accelerators":  # it changes the environment for its compilers
        monkeypatch.setattr(os, "environ", dict(os.environ))
    return importlib.import_module(name)


def test_every_script_and_option_has_a_run(monkeypatch, tmp_path):
    assert RUNS.keys() == SCRIPTS and TORCH.keys() <= SCRIPTS
    for name in SCRIPTS:
        seen = set()

        def add(self, *flags, seen=seen, own=argparse.ArgumentParser.add_argument, **k):
            if k.get("help") != argparse.SUPPRESS:
                seen.update(flag for flag in flags if flag.startswith("--"))
            return own(self, *flags, **k)

        monkeypatch.setattr(argparse.ArgumentParser, "add_argument", add)
        with pytest.raises(SystemExit):  # all parsers are made to be shown
            module(name, monkeypatch).main(["--help"])
        monkeypatch.undo()
        used = {
            word.replace("--no-largest", "--largest")
            for command in (*RUNS[name], *TORCH.get(name, []))
            for word in words(command, tmp_path)
            if word.startswith("--")
        }
        assert seen - {"--json", "--help"} <= used, name


@pytest.fixture
def stand_ins(monkeypatch, tmp_path):
    """What takes minutes is not done: processes of their own, and trainings."""
    import compile_time
    import memory
    import recurrent_cells

    def ask_child(script, *arguments, **environment):
        parts = ("kernels", "trace", "lower", "compile", "first_step", "start")
        times = dict.fromkeys(parts, 1.0)
        return times | {"peak_bytes": 1, "resident": 2, "planned": 1}

    def train(arguments):
        folder = Path(arguments[arguments.index("--run-dir") + 1])
        seeds = arguments[arguments.index("--seeds") + 1 :]
        cell = ZOO["RNN_DARTS_V2"].to_json()
        row = {"kind": "train", "task": "text", "genotype": cell, "test": {}}
        row |= {"name": "n", "text": "t", "parameters": 1, "steps": 1}
        score = {"epoch": 1, "perplexity": 2.0}
        counted = {"unigram_perplexity": 3.0, "bigram_perplexity": 2.5}
        row |= {"last": score, "best": score, "averaged_from": None}
        row |= {"baselines": {"test": counted}}
        folder.mkdir(parents=True)
        runs = [
            row | {"seed": int(s), "test": {"perplexity": 2.0 + len(folder.name)}}
            for s in seeds
        ]
        write_json(folder / "result.json", {"runs": runs})
        return 0

    found = SimpleNamespace(genotype=ZOO["RNN_DARTS_V2"], final=True, path=tmp_path)
    run = SimpleNamespace(seeds=[found])
    for script in (compile_time, memory):
        monkeypatch.setattr(script, "ask_child", ask_child)
    monkeypatch.setattr(recurrent_cells, "train", SimpleNamespace(main=train))
    monkeypatch.setattr(recurrent_cells, "read_search", lambda path: run)
    spent = {"help": start.Spent(1.0, 0.5)}
    monkeypatch.setattr(start, "measure", lambda *arguments: spent)
    for part in ("train", "valid", "test"):
        (tmp_path / f"ptb.{part}.txt").write_text("a b c d e f\n" * 40)


def rows_of(name, command, folder, monkeypatch, capsys):
    """Runs it; the rows that it wrote, each of which is in the table, too."""
    arguments = words(command, folder)
    file = folder / "rows.json"
    at = arguments.index("--") if "--" in arguments else len(arguments)
    arguments[at:at] = ["--json", str(file)]
    main = module(name, monkeypatch).main
    status, said = run_command(main, arguments), capsys.readouterr()
    if name == "accelerators" and "is not installed" in said.err:
        pytest.skip(said.err.strip())  # a compiler that jdarts does not depend on
    assert status == 0, said.err
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert rows
    for row in rows:
        assert re.search(rf"^{re.escape(row['name'])}\b", said.out, re.M), said.out
    return {row["name"]: row for row in rows}


@pytest.mark.parametrize(
    ("name", "command"), [(name, run) for name, runs in RUNS.items() for run in runs]
)
def test_runs(stand_ins, tmp_path, monkeypatch, capsys, name, command):
    rows = rows_of(name, command, tmp_path, monkeypatch, capsys)
    assert rows.keys() >= {"mask_noise": {"exact", "quotient"}}.get(name, set())


@pytest.mark.parametrize(
    ("name", "command"), [(name, run) for name, runs in TORCH.items() for run in runs]
)
def test_runs_beside_torch(tmp_path, monkeypatch, capsys, name, command):
    """Eager and compiled PyTorch stand in the table, with the time to compile."""
    torch_or_skip()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    rows = rows_of(name, command, tmp_path, monkeypatch, capsys)
    (ours,) = [row for key, row in rows.items() if "torch" not in key]
    (eager,) = [row for key, row in rows.items() if key.startswith("torch ")]
    (made,) = [row for key, row in rows.items() if key.startswith("torch.compile ")]
    assert eager["compile_seconds"] is None
    assert made["compile_seconds"] > made["seconds"] > 0
    assert ours["ratio_to_torch"] == eager["seconds"] / ours["seconds"]
    assert ours["ratio_to_torch_compile"] == made["seconds"] / ours["seconds"]
