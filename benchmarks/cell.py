"""What one mixed cell costs: forward and gradient, beside the sum of its ops alone.

Command: python benchmarks/cell.py [--batch 16] [--channels 16]
Command, a quarter of the width per op, as in PC-DARTS:
    python benchmarks/cell.py --batch 64 --partial 4

A normal cell, and a reduction cell of twice the width, on maps of 32 x 32. `parts` adds
up what the cell's ops take, each compiled and timed by itself on the edges that leave a
source; the cell has the input adapters and the mixing besides. With `--partial K` the
cells are timed at 1/K of the width, too: how much of the time is left, beside how much
of the multiply-adds is.
"""

from typing import Any, NamedTuple

import torch_plan
from harness import (
    JaxCandidate,
    Parser,
    Row,
    TorchProcess,
    count,
    medians,
    peak_bytes,
    print_table,
    ratio,
    run_script,
    torch_process,
    write_rows,
)
from modules import ORDERS, cell_case, op_case
from steps import SIDE

import jdarts
from jdarts.compile import compile_timed
from jdarts.ops import OPS
from jdarts.spaces import CellSpec

MEASURED = ("forward", "gradient")


class Cell(NamedTuple):
    """A cell to be timed."""

    kind: str
    spec: CellSpec
    channels: int
    batch: int

    @property
    def widths(self) -> list[int]:
        """Of the inputs, which are the outputs of normal cells."""
        return 2 * [self.spec.nodes * self.channels // self.spec.stride]

    @property
    def name(self) -> str:
        return f"{self.kind} C={self.channels}"


def parser() -> Parser:
    parser = Parser(__doc__, space="darts_cnn", batch=16, channels=16, rounds=5)
    parser.add_torch()
    parser.add_argument(
        "--partial",
        type=count,
        help="time the cells at 1/PARTIAL of the width, too; it divides --channels",
    )
    return parser


def cells_of(args: Any) -> list[Cell]:
    specs = jdarts.get_space(args.space).cells
    shares = [1, args.partial] if args.partial else [1]
    return [
        Cell(kind, spec, spec.stride * args.channels // share, args.batch)
        for share in shares
        for kind, spec in specs.items()
    ]


def op_parts(cell: Cell, order: str) -> dict[str, int]:
    """The cell's ops as ``{part: how often it occurs}``; see `op_part`."""
    found: dict[str, int] = {}
    sources = [source for source, _ in cell.spec.edges]
    for source in dict.fromkeys(sources):
        stride = cell.spec.stride if source < cell.spec.inputs else 1
        for name in cell.spec.primitives:
            if OPS[name] is None or (name, stride) == ("skip_connect", 1):
                continue
            part = f"{name} {sources.count(source)} {stride} {order}"
            found[part] = found.get(part, 0) + 1
    return found


def op_part(cell: Cell, part: str) -> JaxCandidate:
    """Compiles a part by its name. Nodes of a reduction cell have maps of half size."""
    name, edges, stride, order = part.split(" ", 3)
    inner = cell.spec.stride == 2 and stride == "1"
    case = ORDERS[order](
        op_case(
            name,
            edges=int(edges),
            channels=cell.channels,
            stride=int(stride),
            batch=cell.batch,
            side=SIDE // 2 if inner else SIDE,
        )
    )
    return JaxCandidate(compile_timed(case.function, case.arguments), (case.arguments,))


def multiply_adds(cell: Cell) -> int:
    """Of all convolutions of the cell, in one forward pass of one image."""
    c, stride = cell.channels, cell.spec.stride
    total = SIDE * SIDE * c * sum(cell.widths)  # the adapters
    for source, _ in cell.spec.edges:
        own = stride if source < cell.spec.inputs else 1
        out = (SIDE // stride) ** 2
        for name in cell.spec.primitives:
            total += out * _per_pixel(name, own, c)
    return total


def _per_pixel(name: str, stride: int, c: int) -> int:
    """Multiply-adds of a primitive for one output pixel of all channels."""
    if name == "skip_connect":
        return c * c if stride == 2 else 0
    if name.startswith("conv_"):
        return 7 * c * c * (stride + 1)
    kernels = getattr(OPS[name], "kernels", ())
    return sum(k * k * c + c * c for k in kernels)


def measure(args: Any) -> list[Row]:
    cells = cells_of(args)
    ours: dict[str, JaxCandidate] = {}
    parts: dict[str, dict[str, int]] = {}
    others: dict[str, Any] = {}
    with torch_process(not args.no_torch) as process:
        for cell in cells:
            for order in MEASURED:
                name = f"{cell.name}, {order}"
                ours[name] = _compile(cell, order)
                parts[name] = {
                    f"{cell.name}: {part}": times
                    for part, times in op_parts(cell, order).items()
                }
                for part in parts[name]:
                    others[part] = op_part(cell, part.split(": ")[1])
                if process is not None:
                    others[f"torch: {name}"] = _torch(process, cell, order)
        seconds = medians(ours | others, args.rounds)
    rows = []
    for name, candidate in ours.items():
        total = sum(n * seconds[part] for part, n in parts[name].items())
        extra: dict[str, Any] = {"parts_seconds": total}
        rows.append(_row(name, candidate, seconds, extra))
    _add_shares(rows, cells, args.partial)
    torch = [name for name in others if name.startswith("torch: ")]
    return rows + [Row(name, seconds[name]) for name in torch]


def _compile(cell: Cell, order: str) -> JaxCandidate:
    sizes = {"channels": cell.channels, "widths": cell.widths, "batch": cell.batch}
    case = ORDERS[order](cell_case(cell.spec, **sizes))
    return JaxCandidate(compile_timed(case.function, case.arguments), (case.arguments,))


def _torch(process: TorchProcess, cell: Cell, order: str) -> Any:
    spec = cell.spec
    plan = torch_plan.CellPlan(
        cell.kind, cell.channels, spec.stride, False, spec.nodes, spec.primitives
    )
    return process.make(
        "cell",
        plan=torch_plan.to_json(plan),
        widths=cell.widths,
        batch=cell.batch,
        order=order,
    )


def _row(
    name: str, candidate: JaxCandidate, seconds: dict[str, float], extra: dict
) -> Row:
    compiled, own = candidate.compiled, seconds[name]
    return Row(
        name,
        own,
        ratio(seconds.get(f"torch: {name}"), own),
        compiled.trace_seconds,
        compiled.compile_seconds,
        peak_bytes(compiled),
        extra,
    )


def _add_shares(rows: list[Row], cells: list[Cell], partial: int | None) -> None:
    """To the narrow cells' rows: their shares of the full cells' time and work."""
    if not partial:
        return
    full = len(rows) // 2
    for number, row in enumerate(rows[full:]):
        wide, narrow = (cells[(number + n) // len(MEASURED)] for n in (0, full))
        row.extra["time_share"] = row.seconds / rows[number].seconds  # type: ignore
        row.extra["work_share"] = multiply_adds(narrow) / multiply_adds(wide)


def main(argv: list[str]) -> int:
    args = parser().parse(argv)
    if args.partial and args.channels % args.partial:
        raise jdarts.UserError(
            f"--partial: {args.partial}; expected a divisor of --channels "
            f"({args.channels})"
        )
    rows = measure(args)
    lines = []
    for row in rows:
        parts = row.extra.get("parts_seconds")
        milliseconds = [s and 1e3 * s for s in (row.seconds, parts)]
        shares = (row.extra.get(f"{kind}_share") for kind in ("time", "work"))
        lines.append(
            (
                row.name,
                *milliseconds,
                ratio(row.seconds, parts),
                row.ratio_to_torch,
                *shares,
            )
        )
    headers = ("cell", "ms", "parts ms", "x parts", "x torch", "of time", "of work")
    print_table(headers, lines)
    write_rows(rows, args)
    return 0


if __name__ == "__main__":
    run_script(main)
