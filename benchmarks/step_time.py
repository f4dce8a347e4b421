"""What one search step costs: every hypergradient, beside the same step in PyTorch.

Command: python benchmarks/step_time.py [--batch 16] [--channels 16] [--layers 8]

Steps on random images of 32 x 32 pixels, compiled (trace and compile time apart) and
then timed in turn with the PyTorch baseline's, round by round. `x first` is the time
over that of the first-order step; `x torch` how many times as long PyTorch takes, for
the exact second order against PyTorch's finite difference.
"""

from typing import Any

import steps
import torch_plan
from harness import (
    JaxCandidate,
    Parser,
    Row,
    medians,
    peak_bytes,
    print_table,
    ratio,
    run_script,
    torch_process,
    write_rows,
)

import jdarts
from jdarts.compile import compile_timed
from jdarts.errors import unknown_choice

REPEAT = 3  # steps in one timed call


def parser() -> Parser:
    defaults = {"batch": 16, "channels": 16, "layers": 8, "rounds": 5}
    parser = Parser(__doc__, space="darts_cnn", **defaults)
    parser.add_torch()
    parser.add_argument(
        "--only", nargs="+", default=list(steps.STEPS), help="names of steps"
    )
    parser.add_argument("--remat", action="store_true", help="rematerialise cells")
    parser.add_argument(
        "--torch-compile",
        action="store_true",
        help="PyTorch's compiled steps, too (may compile for minutes)",
    )
    parser.add_argument(
        "--torch-layout",
        choices=("nchw", "channels_last"),
        default="nchw",
        help="of PyTorch's images (default nchw)",
    )
    return parser


def measure(args: Any) -> list[Row]:
    size = steps.Size(args.space, args.batch, args.channels, args.layers, args.remat)
    candidates: dict[str, Any] = {}
    for name in args.only:
        run, arguments = steps.build(name, size, REPEAT)
        candidates[name] = JaxCandidate(
            compile_timed(run, *arguments), arguments, REPEAT
        )
    with torch_process(not args.no_torch) as process:
        if process is not None:
            candidates |= _torch_candidates(process, args)
        seconds = medians(candidates, args.rounds)
    return [_row(name, candidates[name], seconds) for name in candidates]


def _torch_candidates(process: Any, args: Any) -> dict[str, Any]:
    space = jdarts.get_space(args.space)
    plan = torch_plan.make_plan(space, args.channels, args.layers, steps.CLASSES)
    options = {
        "plan": torch_plan.to_json(plan),
        "batch": args.batch,
        "channels_last": args.torch_layout == "channels_last",
    }
    wanted = dict.fromkeys(steps.STEPS[name].torch for name in args.only)
    kinds = {"torch": False} | ({"torch.compile": True} if args.torch_compile else {})
    return {
        f"{kind}: {step}": process.make("step", step=step, compiled=compiled, **options)
        for kind, compiled in kinds.items()
        for step in wanted
    }


def _row(name: str, candidate: Any, seconds: dict[str, float]) -> Row:
    own = seconds[name]
    first = ratio(own, seconds.get("first order"))
    if not isinstance(candidate, JaxCandidate):
        return Row(name, own)
    compiled = candidate.compiled
    counterpart = steps.STEPS[name].torch
    best = [s for n, s in seconds.items() if n.startswith("torch") and counterpart in n]
    return Row(
        name,
        own,
        ratio(min(best), own) if best else None,
        compiled.trace_seconds,
        compiled.compile_seconds,
        peak_bytes(compiled),
        {"ratio_to_first_order": first},
    )


def main(argv: list[str]) -> int:
    args = parser().parse(argv)
    for name in args.only:
        if name not in steps.STEPS:
            raise unknown_choice("--only", name, steps.STEPS)
    rows = measure(args)
    print_table(
        ("step", "seconds", "x first", "x torch", "trace s", "compile s", "MiB"),
        [
            (
                row.name,
                row.seconds,
                row.extra.get("ratio_to_first_order"),
                row.ratio_to_torch,
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
