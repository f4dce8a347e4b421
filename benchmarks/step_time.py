"""What one search step costs: every hypergradient, beside the same step in PyTorch.

Command: python benchmarks/step_time.py [--batch 16] [--channels 16] [--layers 8]

Steps on random images of 32 x 32 pixels, compiled (trace and compile time apart) and
then timed in turn with the PyTorch baseline's, round by round. `x first` is the time
over that of the first-order step; `x torch` how many times as long eager PyTorch takes,
for the exact second order against PyTorch's finite difference; `x compiled` the same of
`torch.compile` (with --torch-compile), whose compile time is that of its first step.
"""

from typing import Any

import steps
from harness import (
    JaxCandidate,
    Parser,
    Row,
    fastest,
    medians,
    peak_bytes,
    print_table,
    ratio,
    run_script,
    torch_kinds,
    torch_process,
    write_rows,
)

from jdarts.compile import compile_timed

REPEAT = 3  # steps in one timed call


def parser() -> Parser:
    defaults = {"batch": 16, "channels": 16, "layers": 8, "rounds": 5}
    parser = Parser(__doc__, space="darts_cnn", **defaults)
    parser.add_torch()
    parser.add_argument(
        "--only", nargs="+", default=list(steps.STEPS), help="names of steps"
    )
    parser.add_argument("--remat", action="store_true", help="rematerialise cells")
    parser.add_torch_compile(["channels_last"])  # the faster one on CPU
    return parser


def measure(args: Any) -> list[Row]:
    size = steps.size_of(args)
    candidates: dict[str, Any] = {}
    for name in args.only:
        run, arguments = steps.build(name, size, REPEAT)
        compiled = compile_timed(run, *arguments)
        candidates[name] = JaxCandidate(compiled, arguments, steps=REPEAT)
    with torch_process(not args.no_torch) as process:
        if process is not None:
            candidates |= _torch_candidates(process, size, args)
        seconds = medians(candidates, args.rounds)
    return [_row(name, candidates[name], seconds) for name in candidates]


def _torch_candidates(process: Any, size: steps.Size, args: Any) -> dict[str, Any]:
    wanted = dict.fromkeys(steps.STEPS[name].torch for name in args.only)
    return {
        f"{name}: {step}": steps.make_torch(
            process, step, size, compiled=compiled, layout=layout
        )
        for name, compiled, layout in torch_kinds(args)
        for step in wanted
    }


def _row(name: str, candidate: Any, seconds: dict[str, float]) -> Row:
    own = seconds[name]
    first = ratio(own, seconds.get("first order"))
    if not isinstance(candidate, JaxCandidate):
        return Row(name, own, compile_seconds=candidate.compile_seconds)
    compiled = candidate.compiled
    torch = f": {steps.STEPS[name].torch}"
    return Row(
        name,
        own,
        ratio(fastest(seconds, "torch", torch), own),
        compiled.trace_seconds,
        compiled.compile_seconds,
        peak_bytes(compiled),
        {
            "ratio_to_first_order": first,
            "ratio_to_torch_compile": ratio(
                fastest(seconds, "torch.compile", torch), own
            ),
        },
    )


def main(argv: list[str]) -> int:
    args = parser().parse(argv)
    for name in args.only:
        steps.check_step("--only", name)
    rows = measure(args)
    print_table(
        (
            *("step", "seconds", "x first", "x torch", "x compiled", "trace s"),
            *("compile s", "MiB"),
        ),
        [
            (
                row.name,
                row.seconds,
                row.extra.get("ratio_to_first_order"),
                row.ratio_to_torch,
                row.extra.get("ratio_to_torch_compile"),
                row.trace_seconds,
                row.compile_seconds,
                row.peak_bytes and row.peak_bytes / 2**20,
            )
            for row in rows
        ],
    )
    write_rows(rows, args)
    return 0


if __name__ == "__main__":
    run_script(main)
