"""Kills the real command at random moments: it has to end as if nothing had happened.

Command: python benchmarks/kills.py --kills 50 [--seed 0] [--json FILE]

Each kill is a SIGKILL to a command that runs a tiny search or training: at a random
time after its start, or a random short time after a random step was written down. The
same command then goes on with the folder, to its end. Everything that it leaves (final
arrays, genotypes, rows of metrics, results) is compared with an unbroken run's, bit for
bit; where the time went is left out. A row a kill; exit status 1 if one is not equal.
"""

import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orbax.checkpoint as ocp
from harness import Parser, Row, count, print_table, run_script, write_rows

from jdarts import UserError
from jdarts.io import write_json

_CNN = (
    "smoke --channels 2 --batch-size 8 --log-every 1 --checkpoint-minutes 1e-9 "
    "--method.hypergradient.name first_order"
).split()
_SEARCH = [*_CNN, *"--layers 2 --data.limit 512 --epochs 3".split()]
_CELL = {"nodes": [[["sep_conv_3x3", 0], ["skip_connect", 1]]], "concat": [2]}
_GENOTYPE = {"space": "toy", "cells": {"normal": _CELL, "reduce": _CELL}}
_LINE = "one two three one three two four\n"

# Kind to the command; FOLDER holds a genotype and a text.
KINDS: dict[str, Sequence[str]] = {
    "search": ["search", *_SEARCH],
    "train": (
        "train FOLDER/genotype.json train_digits --channels 2 --layers 1 --batch-size "
        "8 --data.limit 256 --log-every 1 --epochs 3 --average-decay 0.9 --drop-path "
        "0.3 --data.cutout 2 --checkpoint-minutes 1e-9"
    ).split(),
    "seeds": ["search", *_SEARCH, "--seeds", "0", "1"],
    "recurrent": (
        "search rnn_demo --space toy_rnn --units 6 --length 6 --batch-size 4 "
        "--evaluation-batch 3 --data.name file --data.level word --data.dir "
        "FOLDER/text.txt --epochs 2 --log-every 1 --checkpoint-minutes 1e-9 "
        "--method.hypergradient.name first_order --method.no-clip-virtual"
    ).split(),
    "stages": (
        "search smoke --channels 2 --batch-size 8 --log-every 1 --checkpoint-minutes "
        "1e-9 --layers 1 --data.limit 128 --epochs 4 --method p_darts "
        "--method.added-layers 0 1 --method.dropped 1 --method.skip-dropout 0.0 0.4 "
        "--method.warmup 0.5"
    ).split(),
}
_NOT_COMPARED = {"timing.jsonl", "report.html", ".lock"}
_TIMED = 0.35  # share of the kills at a time after the start, rather than after a step


class Kill(NamedTuple):
    """One kill.

    Attributes:
      kind: of the run.
      moment: when: what was asked for, and what the folder held.
      resumed: the step from which the run went on; 0: from its start.
      different: the files that differ in the end; empty if all are equal.
    """

    kind: str
    moment: str
    resumed: int
    different: list[str]


def parser() -> Parser:
    parser = Parser(__doc__)
    parser.add_argument("--kills", type=count, default=6, help="number (default 6)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the moments (default 0)"
    )
    parser.add_argument(
        "--only", nargs="+", choices=KINDS, default=list(KINDS), help="kinds of run"
    )
    parser.add_argument(
        "--folder", type=Path, help="keep the unbroken runs here, and use those there"
    )
    return parser


@contextlib.contextmanager
def workplace(given: Path | None) -> Iterator[Path]:
    """The folder of all runs, with what they read."""
    with contextlib.ExitStack() as stack:
        if given is None:
            given = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        given.mkdir(parents=True, exist_ok=True)
        write_json(given / "genotype.json", _GENOTYPE)
        (given / "text.txt").write_text(_LINE * 80)
        yield given


def start(kind: str, work: Path, run: Path) -> subprocess.Popen[str]:
    """Starts the command."""
    name, *rest = [word.replace("FOLDER", str(work)) for word in KINDS[kind]]
    return subprocess.Popen(
        [sys.executable, "-m", f"jdarts.{name}", *rest, "--run-dir", str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Waits for the command's end; what it printed.

    Raises:
      UserError: if it fails.
    """
    out, err = process.communicate()
    _check_status(process, out, err)
    return out


def _check_status(process: subprocess.Popen[str], out: str, err: str) -> None:
    if process.returncode:
        raise UserError(f"status {process.returncode}, expected 0: {out}{err}")


def rows(run: Path) -> int:
    """Rows of metrics on disk, of all seeds."""
    # Not everything below: checkpoints come and go meanwhile.
    files = [*run.glob("metrics.jsonl"), *run.glob("seed_*/metrics.jsonl")]
    return sum(file.read_bytes().count(b"\n") for file in files)


def kill(
    kind: str, work: Path, run: Path, draw: random.Random, seconds: float, total: int
) -> str | None:
    """Starts the command and kills it; None if it has ended before.

    Raises:
      UserError: if it fails.

    Args:
      kind: of the run.
      work: what it reads.
      run: its folder, which is not there.
      draw: of the moment.
      seconds: what an unbroken run takes.
      total: rows that it writes.
    """
    process = start(kind, work, run)
    try:
        asked = wait(process, run, draw, seconds, total)
    finally:
        process.send_signal(signal.SIGKILL)
        out, err = process.communicate()
    if process.returncode != -signal.SIGKILL:
        _check_status(process, out, err)
        return None
    if not (run / "config.json").exists():
        return f"{asked}: no run yet"
    return f"{asked}: {rows(run)} rows, {len(saved(run))} checkpoints"


def wait(
    process: subprocess.Popen[str],
    run: Path,
    draw: random.Random,
    seconds: float,
    total: int,
) -> str:
    """Waits for a random moment, or the command's end; the moment in words."""
    if draw.random() < _TIMED:
        after = draw.uniform(0.0, seconds)
        end = time.monotonic() + after
        while time.monotonic() < end and process.poll() is None:
            time.sleep(0.001)
        return f"{after:.2f} s after the start"
    wanted, after = draw.randint(1, total), draw.uniform(0.0, 0.05)
    while rows(run) < wanted and process.poll() is None:
        time.sleep(0.001)
    time.sleep(after)
    return f"{1e3 * after:.0f} ms after row {wanted}"


def saved(run: Path) -> list[Path]:
    """The checkpoints of a run, of all stages, oldest first."""
    folders = [f for f in run.glob("checkpoints*/*") if f.name.isdecimal()]
    return sorted(folders, key=lambda folder: (folder.parent.name, int(folder.name)))


def arrays(run: Path) -> dict[str, bytes]:
    """What the last checkpoint of each stage holds: its arrays by name, its notes."""
    found: dict[str, bytes] = {}
    for folder in {path.parent.name: path for path in saved(run)}.values():
        name = f"{folder.parent.name}/{folder.name}"
        notes = (folder / "meta" / "metadata").read_bytes()
        leaves = json.loads(json.loads(notes)["content"])["leaves"]
        state: Any = ocp.StandardCheckpointer().restore((folder / "state").absolute())
        for number, leaf in state.items():
            value = np.asarray(leaf)
            kind = f"{value.dtype} {value.shape}"
            path, *_ = leaves[int(number)]
            found[f"{name}: {path}"] = kind.encode() + value.tobytes()
        found[f"{name}: notes"] = notes
    return found


def contents(run: Path) -> dict[str, bytes]:
    """All that a run leaves and that is the same each time."""
    files = {
        str(path.relative_to(run)): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file()
        and path.name not in _NOT_COMPARED
        and not path.relative_to(run).parts[0].startswith("checkpoints")
    }
    return files | arrays(run)


def different(expected: dict[str, bytes], found: dict[str, bytes]) -> list[str]:
    """Names of what differs, or is only in one of the two."""
    names = sorted({*expected, *found})
    return [name for name in names if expected.get(name) != found.get(name)]


def unbroken(kind: str, work: Path) -> tuple[dict[str, bytes], float, int]:
    """What an unbroken run leaves, its seconds, and its rows of metrics."""
    run, began = work / f"unbroken_{kind}", time.monotonic()
    file = work / f"unbroken_{kind}.seconds"
    if not file.exists():
        shutil.rmtree(run, ignore_errors=True)  # of a call that was interrupted
    finish(start(kind, work, run))  # only reads results if it has ended before
    seconds = time.monotonic() - began
    if file.exists():
        seconds = float(file.read_text())
    file.write_text(str(seconds))
    return contents(run), seconds, rows(run)


def measure(args: Any) -> list[Row]:
    """One row a kill."""
    draw, found = random.Random(args.seed), []
    with workplace(args.folder) as work:
        whole = {kind: unbroken(kind, work) for kind in args.only}
        while len(found) < args.kills:
            kind = args.only[len(found) % len(args.only)]
            expected, seconds, total = whole[kind]
            with tempfile.TemporaryDirectory(dir=work) as place:
                run = Path(place) / f"unbroken_{kind}"
                moment = kill(kind, work, run, draw, seconds, total)
                if moment is None:
                    continue  # it was too late: another moment
                out = finish(start(kind, work, run))
                words = out.partition("resuming ")[2].partition(" at step ")[2]
                resumed = int(words.split()[0]) if words else 0
                now = contents(run)
            found.append(Kill(kind, moment, resumed, different(expected, now)))
            print(json.dumps(found[-1]._asdict()), file=sys.stderr, flush=True)
    return [_row(number, one) for number, one in enumerate(found, 1)]


def _row(number: int, found: Kill) -> Row:
    extra = found._asdict() | {"equal": not found.different}
    return Row(f"{number} {found.kind}", extra=extra)


def main(argv: list[str]) -> int:
    """Runs the script; returns its exit status."""
    args = parser().parse(argv)
    found = measure(args)
    print_table(
        ["kill", "moment", "resumed at step", "equal"],
        [[r.name, *(str(r.extra[n]) for n in _SHOWN)] for r in found],
    )
    for row in found:
        for name in row.extra["different"]:
            print(f"{row.name}: {name} differs")
    write_rows(found, args)
    return 0 if all(row.extra["equal"] for row in found) else 1


_SHOWN = ("moment", "resumed", "equal")

if __name__ == "__main__":
    run_script(main)
