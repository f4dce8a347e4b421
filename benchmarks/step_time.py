"""What one search step costs: every hypergradient, beside the same step in PyTorch.

Command: python benchmarks/step_time.py [--batch 16] [--channels 16] [--layers 8]

Steps on random images of 32 x 32 pixels, compiled (trace and compile time apart) and
then timed in turn with the PyTorch baseline's, round by round. `x first` is the time
over that of the first-order step; `x torch` how many times as long PyTorch takes, for
the exact second order against PyTorch's finite difference, all against eager PyTorch.
"""

from typing import Any

import steps
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
    parser.add_argument(
        "--torch-compile",
        action="store_true",
        help="PyTorch's compiled steps, too (may compile for minutes)",
    )
    parser.add_argument(
        "--torch-layout",
        nargs="+",
        choices=("channels_last", "nchw"),
        default=["channels_last"],
        help="of PyTorch's images (default channels_last, the faster one on CPU)",
    )
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
    kinds = {"torch": False} | ({"torch.compile": True} if args.torch_compile else {})
    return {
        f"{kind} {layout}: {step}": steps.make_torch(
            process, step, size, compiled=compiled, layout=layout
        )
        for kind, compiled in kinds.items()
        for layout in args.torch_layout
        for step in wanted
    }


def _row(name: str, candidate: Any, seconds: dict[str, float]) -> Row:
    own = seconds[name]
    first = ratio(own, seconds.get("first order"))
    if not isinstance(candidate, JaxCandidate):
        return Row(name, own)
    compiled = candidate.compiled
    torch = f": {steps.STEPS[name].torch}"
    eager = [s for n, s in seconds.items() if n.startswith("torch ") and torch in n]
    return Row(
        name,
        own,
        ratio(min(eager, default=None), own),
        compiled.trace_seconds,
        compiled.compile_seconds,
        peak_bytes(compiled),
        {"ratio_to_first_order": first},
    )


def main(argv: list[str]) -> int:
    args = parser().parse(argv)
    for name in args.only:
        steps.check_step("--only", name)
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
