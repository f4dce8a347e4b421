"""What it costs to start: trace, lower, compile; cold, and from the cache on disk.

Command: python benchmarks/compile_time.py [--batch 16] [--channels 16] [--layers 8]

Each step is built twice, each time in a new process: first with an empty cache
folder, then with what that left there: the whole program, which is then not traced
either (`jdarts.program_store`). `kernels` is what a C++ compiler takes to build the
kernels for CPU, once for all programs. `start` is the time from the start of the
process to the end of the first step: imports, initial values, tracing, compiling, the
step.
"""

import json
import tempfile
import time
from typing import Any

import steps
from harness import (
    Parser,
    Row,
    ask_child,
    peak_bytes,
    print_table,
    run_script,
    write_rows,
)

from jdarts.compile import enable_cache, programs_folder
from jdarts.fingerprint import VERSIONED
from jdarts.ops import native
from jdarts.program_store import compile_stored

DEFAULT = ["first order", "exact, K=1, forward"]


def parser() -> Parser:
    parser = Parser(__doc__, space="darts_cnn", batch=16, channels=16, layers=8)
    parser.add_argument("--only", nargs="+", default=DEFAULT, help="names of steps")
    parser.add_argument("--remat", action="store_true", help="rematerialise cells")
    parser.add_child(type=float)
    return parser


def child(name: str, args: Any) -> dict[str, Any]:
    """One start; ``args.child`` is when the process was started."""
    enable_cache()
    VERSIONED.update((__name__, steps.__name__))  # they do not change meanwhile
    begin = time.perf_counter()
    native.available()
    built = time.perf_counter()
    run, arguments = steps.build(name, steps.size_of(args))
    compiled = compile_stored(programs_folder(), run, *arguments)
    compiling = time.perf_counter()
    compiled.call(*arguments).step.block_until_ready()
    start = time.time() - args.child
    return {
        "kernels": built - begin,
        "trace": compiled.trace_seconds - compiled.lower_seconds,
        "lower": compiled.lower_seconds,
        "compile": compiled.compile_seconds,
        "first_step": time.perf_counter() - compiling,
        "start": start,
        "peak_bytes": peak_bytes(compiled),
    }


def measure(name: str, args: Any) -> list[Row]:
    sizes = ("space", "batch", "channels", "layers")
    flags = [text for s in sizes for text in (f"--{s}", str(getattr(args, s)))]
    flags += ["--remat"] if args.remat else []
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for temperature in ("cold", "warm"):
            now = str(time.time())
            found = ask_child(
                __file__, "--only", name, "--child", now, *flags, XDG_CACHE_HOME=folder
            )
            rows.append(
                Row(
                    f"{name}, {temperature}",
                    found["start"],
                    None,
                    found["trace"] + found["lower"],
                    found["compile"],
                    found["peak_bytes"],
                    {f"{p}_only_seconds": found[p] for p in ("trace", "lower")}
                    | {f"{p}_seconds": found[p] for p in ("kernels", "first_step")},
                )
            )
    return rows


def main(argv: list[str]) -> int:
    args = parser().parse(argv)
    for name in args.only:
        steps.check_step("--only", name)
    if "child" in args:
        print(json.dumps(child(args.only[0], args)))
        return 0
    rows = [row for name in args.only for row in measure(name, args)]
    print_table(
        (
            "step",
            "kernels s",
            "trace s",
            "lower s",
            "compile s",
            "first step s",
            "start s",
        ),
        [
            (
                row.name,
                row.extra["kernels_seconds"],
                row.extra["trace_only_seconds"],
                row.extra["lower_only_seconds"],
                row.compile_seconds,
                row.extra["first_step_seconds"],
                row.seconds,
            )
            for row in rows
        ],
    )
    write_rows(rows, args)
    return 0


if __name__ == "__main__":
    run_script(main)
