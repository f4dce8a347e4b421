"""How much memory a process needs that does search steps, beside PyTorch's.

Command: python benchmarks/memory.py [--batch 16] [--channels 16] [--layers 8]

The most resident memory of a process from its start to the end of a few steps, each
step in a new process: imports, weights, everything. `compiling` is that of the
process that compiles the step; `running` that of one that takes it from the disk, as
every later start of a search does, and is what `x torch` is about. `planned` is what
XLA reserves for the arrays of a step.
"""

import json
import sys
import tempfile
from typing import Any

import jax
import steps
from harness import (
    Parser,
    Row,
    ask_child,
    peak_bytes,
    peak_resident_bytes,
    print_table,
    ratio,
    run_script,
    torch_process,
    write_rows,
)

from jdarts.compile import enable_cache, programs_folder
from jdarts.fingerprint import VERSIONED
from jdarts.program_store import compile_stored

STEPS_RUN = 3  # PyTorch has momentum only from the second step on
REMAT = ", remat"


def parser() -> Parser:
    parser = Parser(__doc__, space="darts_cnn", batch=16, channels=16, layers=8)
    parser.add_torch()
    parser.add_argument(
        "--only", nargs="+", default=list(steps.STEPS), help="names of steps"
    )
    parser.add_argument(
        "--remat",
        choices=("no", "yes", "both"),
        default="both",
        help="whether cells are rematerialised (default both)",
    )
    parser.add_child(action="store_true")
    return parser


def child(args: Any) -> dict[str, Any]:
    """Does the first named step, and says what it took."""
    enable_cache()
    VERSIONED.update((__name__, steps.__name__))  # they do not change meanwhile
    size = steps.size_of(args)._replace(remat=args.remat == "yes")
    run, arguments = steps.build(args.only[0], size, STEPS_RUN)
    compiled = compile_stored(programs_folder(), run, *arguments)
    jax.block_until_ready(compiled.call(*arguments))
    return {
        "resident": peak_resident_bytes(),
        "planned": peak_bytes(compiled),
        "trace": compiled.trace_seconds,
        "compile": compiled.compile_seconds,
    }


def measure(name: str, remat: str, folder: str, args: Any) -> Row:
    """One step's row.

    Args:
      name: of the step.
      remat: yes or no.
      folder: where all rows keep their kernels and programs.
      args: of the command line.
    """
    sizes = ("space", "batch", "channels", "layers")
    flags = [text for s in sizes for text in (f"--{s}", str(getattr(args, s)))]
    flags += ["--only", name, "--remat", remat]
    row = name + (REMAT if remat == "yes" else "")
    print(f"measuring {row}", file=sys.stderr, flush=True)
    cold, warm = (
        ask_child(__file__, "--child", *flags, XDG_CACHE_HOME=folder) for _ in range(2)
    )
    return Row(
        row,
        trace_seconds=cold["trace"],
        compile_seconds=cold["compile"],
        peak_bytes=warm["resident"],
        extra={
            "compiling_peak_bytes": cold["resident"],
            "planned_bytes": warm["planned"],
        },
    )


def measure_torch(args: Any) -> list[Row]:
    rows = []
    for step in dict.fromkeys(steps.STEPS[name].torch for name in args.only):
        print(f"measuring PyTorch: {step}", file=sys.stderr, flush=True)
        with torch_process(not args.no_torch) as process:
            if process is None:
                return []
            candidate = steps.make_torch(process, step, steps.size_of(args))
            candidate._replace(calls=STEPS_RUN).seconds()
            rows.append(Row(f"torch: {step}", peak_bytes=process.peak_bytes()))
    return rows


def with_ratios(rows: list[Row], torch: list[Row]) -> list[Row]:
    """Adds how many times as much memory PyTorch takes."""
    peaks = {row.name: row.peak_bytes for row in torch}
    done = []
    for row in rows:
        counterpart = steps.STEPS[row.name.removesuffix(REMAT)].torch
        found = ratio(peaks.get(f"torch: {counterpart}"), row.peak_bytes)
        extra = row.extra | {"memory_ratio_to_torch": found}
        done.append(row._replace(extra=extra))
    return done + torch


def main(argv: list[str]) -> int:
    args = parser().parse(argv)
    for name in args.only:
        steps.check_step("--only", name)
    if "child" in args:
        print(json.dumps(child(args)))
        return 0
    which = {"no": ["no"], "yes": ["yes"], "both": ["no", "yes"]}[args.remat]
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(n, remat, folder, args) for n in args.only for remat in which]
    rows = with_ratios(rows, measure_torch(args))
    mebibytes = lambda count: count and count / 2**20  # noqa: E731
    print_table(
        ("step", "running MiB", "x torch", "compiling MiB", "planned MiB"),
        [
            (
                row.name,
                mebibytes(row.peak_bytes),
                row.extra.get("memory_ratio_to_torch"),
                mebibytes(row.extra.get("compiling_peak_bytes")),
                mebibytes(row.extra.get("planned_bytes")),
            )
            for row in rows
        ],
    )
    write_rows(rows, args)
    return 0


if __name__ == "__main__":
    run_script(main)
