"""What one primitive costs: forward, gradient, second-order product, beside PyTorch.

Command: python benchmarks/ops.py [--batch 16] [--channels 16] [--only sep_conv_3x3]

Each row of the OPS table on all the edges that leave one source (four, in a cell of
DARTS), on maps of 32 x 32: jdarts computes them together, and what has no weights only
once; PyTorch one by one. The gradient is a vector-Jacobian product in weights and
input; the second-order product is its derivative along a direction.
"""

from typing import Any

from harness import (
    JaxCandidate,
    Parser,
    Row,
    count,
    medians,
    peak_bytes,
    print_table,
    ratio,
    run_script,
    torch_process,
    write_rows,
)
from modules import ORDERS, op_case

from jdarts.compile import compile_timed
from jdarts.errors import unknown_choice
from jdarts.ops import DRAWING, OPS

CALLS = 10  # in one timing

# Without `none`, and those that only draw.
NAMES = [name for name, row in OPS.items() if row is not None and name not in DRAWING]


def parser() -> Parser:
    parser = Parser(__doc__, batch=16, channels=16, rounds=5)
    parser.add_torch()
    parser.add_argument("--only", nargs="+", default=NAMES, help="names of primitives")
    parser.add_argument(
        "--edges", type=count, default=4, help="edges that leave the source (default 4)"
    )
    parser.add_argument(
        "--stride", nargs="+", type=int, choices=(1, 2), default=[1, 2], help="of edges"
    )
    return parser


def measure(args: Any) -> list[Row]:
    sizes = {"edges": args.edges, "channels": args.channels, "batch": args.batch}
    cells = [
        {"name": name, "stride": stride, **sizes}
        for name in args.only
        for stride in args.stride
        if (name, stride) != ("skip_connect", 1)  # the identity
    ]
    ours: dict[str, JaxCandidate] = {}
    candidates: dict[str, Any] = {}
    with torch_process(not args.no_torch) as process:
        for cell in cells:
            for order, derive in ORDERS.items():
                case = derive(op_case(**cell))
                compiled = compile_timed(case.function, case.arguments)
                name = f"{cell['name']}, stride {cell['stride']}, {order}"
                ours[name] = JaxCandidate(compiled, (case.arguments,), calls=CALLS)
                if process is not None:
                    candidates[f"torch: {name}"] = process.make(
                        "op", order=order, calls=CALLS, **cell
                    )
        seconds = medians(ours | candidates, args.rounds)
    rows = [
        Row(
            name,
            seconds[name],
            ratio(seconds.get(f"torch: {name}"), seconds[name]),
            candidate.compiled.trace_seconds,
            candidate.compiled.compile_seconds,
            peak_bytes(candidate.compiled),
        )
        for name, candidate in ours.items()
    ]
    return rows + [Row(name, seconds[name]) for name in candidates]


def main(argv: list[str]) -> int:
    args = parser().parse(argv)
    for name in args.only:
        if name not in NAMES:
            raise unknown_choice("--only", name, NAMES)
    rows = measure(args)
    torch = {row.name: row.seconds for row in rows if row.name.startswith("torch: ")}
    lines = []
    for row in rows:
        if row.name not in torch:
            other = torch.get(f"torch: {row.name}")
            milliseconds = (s and 1e3 * s for s in (row.seconds, other))
            lines.append((row.name, *milliseconds, row.ratio_to_torch))
    print_table(("op", "ms", "torch ms", "x torch"), lines)
    write_rows(rows, args)
    return 0


if __name__ == "__main__":
    run_script(main)
