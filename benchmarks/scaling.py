"""How a step's time grows with batch, channels, layers, nodes and devices.

Command: python benchmarks/scaling.py [--step "first order"] [--vary batch layers]

One quantity is varied while the others stay as given, and ``time = c * quantity ** p``
is fitted to the medians: p is the exponent. Devices are virtual ones, threads of one
CPU, each point in a new process: that shows what dividing a batch costs, not
what more devices give. They have no compiled kernels, so compare them with each other
(not with the other quantities' points).
"""

import dataclasses
import json
import math
from typing import Any

import jax
import numpy as np
import steps
from harness import (
    JaxCandidate,
    Parser,
    Row,
    ask_child,
    count,
    medians,
    peak_bytes,
    print_table,
    ratio,
    run_script,
    torch_process,
    write_rows,
)

import jdarts
from jdarts import sharding
from jdarts.compile import compile_timed

POINTS = {
    "batch": [4, 8, 16, 32],
    "channels": [4, 8, 16, 32],
    "layers": [3, 6, 12],
    "nodes": [1, 2, 4],
    "devices": [1, 2, 4],
}
"""Quantity to its values; `--points` gives others."""


def parser() -> Parser:
    parser = Parser(
        __doc__, space="darts_cnn", batch=16, channels=16, layers=3, rounds=3
    )
    parser.add_torch()
    parser.add_argument(
        "--step", default="first order", help="which step (default 'first order')"
    )
    parser.add_argument(
        "--vary", nargs="+", choices=list(POINTS), default=list(POINTS), help="what"
    )
    parser.add_argument(
        "--points", nargs="+", type=count, help="values, for a single --vary"
    )
    parser.add_child(action="store_true")
    return parser


def size_at(quantity: str, value: int, args: Any) -> steps.Size:
    size = steps.size_of(args)
    if quantity != "nodes":
        changed: dict[str, Any] = {quantity: value}
        return size._replace(**changed)
    cells = {
        kind: dataclasses.replace(spec, nodes=value)
        for kind, spec in size.space.cells.items()
    }
    return size._replace(space=dataclasses.replace(size.space, cells=cells))


def measure(quantity: str, args: Any) -> list[Row]:
    """A row a point, on one device."""
    points = args.points or POINTS[quantity]
    ours: dict[str, JaxCandidate] = {}
    torch: dict[str, Any] = {}
    with torch_process(not args.no_torch) as process:
        for value in points:
            size, name = size_at(quantity, value, args), f"{quantity} {value}"
            run, arguments = steps.build(args.step, size)
            ours[name] = JaxCandidate(compile_timed(run, *arguments), arguments)
            if process is not None:
                step = steps.STEPS[args.step].torch
                torch[f"torch: {name}"] = steps.make_torch(process, step, size)
        seconds = medians(ours | torch, args.rounds)
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
    rows += [Row(name, seconds[name]) for name in torch]
    return _with_exponents(rows, points)


def measure_devices(args: Any) -> list[Row]:
    points = args.points or POINTS["devices"]
    for devices in points:
        if args.batch % devices:
            raise jdarts.UserError(
                f"--batch: {args.batch}; expected a multiple of {devices} devices"
            )
    names = ("space", "batch", "channels", "layers", "rounds", "step")
    flags = [text for n in names for text in (f"--{n}", str(getattr(args, n)))]
    rows = []
    for devices in points:
        option = f"--xla_force_host_platform_device_count={devices}"
        found = ask_child(
            __file__,
            "--child",
            *flags,
            XLA_FLAGS=option,
            JAX_PLATFORMS="cpu",
            JDARTS_NATIVE="0",  # several devices have no kernels: nor may one
        )
        rows.append(Row(f"devices {devices}", **found))
    return _with_exponents(rows, points)


def child(args: Any) -> dict[str, Any]:
    """The step on several devices, in a process that has them."""
    size = steps.size_of(args)
    run, (key, state, batches) = steps.build(args.step, size)
    mesh = sharding.make_mesh()
    everywhere = sharding.replicated(mesh)
    arguments = (
        jax.device_put(key, everywhere),
        jax.device_put(state, everywhere),
        jdarts.SearchBatches(
            jax.device_put(batches.train, sharding.over_batch(mesh, 1)),
            jax.device_put(batches.valid, sharding.over_batch(mesh)),
        ),
    )
    compiled = compile_timed(run, *arguments, out_shardings=everywhere)
    seconds = medians({"step": JaxCandidate(compiled, arguments)}, args.rounds)
    return {
        "seconds": seconds["step"],
        "trace_seconds": compiled.trace_seconds,
        "compile_seconds": compiled.compile_seconds,
        "peak_bytes": peak_bytes(compiled),
    }


def exponent(values: list[int], seconds: list[float]) -> float | None:
    """The least-squares slope of log time in log value; None for fewer than two."""
    if len(set(values)) < 2:
        return None
    slope, _ = np.polyfit([math.log(v) for v in values], np.log(seconds), 1)
    return float(slope)


def _with_exponents(rows: list[Row], points: list[int]) -> list[Row]:
    """Adds to each row the exponent of its kind: ours, or PyTorch's."""
    done = []
    for start in range(0, len(rows), len(points)):
        group = rows[start : start + len(points)]
        found = exponent(points, [row.seconds for row in group])  # type: ignore
        done += [row._replace(extra=row.extra | {"exponent": found}) for row in group]
    return done


def main(argv: list[str]) -> int:
    args = parser().parse(argv)
    steps.check_step("--step", args.step)
    if args.points and len(args.vary) != 1:
        raise jdarts.UserError(
            f"--points: found with {len(args.vary)} quantities to vary; expected one, "
            "such as --vary batch"
        )
    if "child" in args:
        print(json.dumps(child(args)))
        return 0
    for quantity in args.vary:
        devices = quantity == "devices"
        rows = measure_devices(args) if devices else measure(quantity, args)
        print_table(
            ("point", "seconds", "exponent", "x torch", "compile s"),
            [
                (
                    row.name,
                    row.seconds,
                    row.extra["exponent"],
                    row.ratio_to_torch,
                    row.compile_seconds,
                )
                for row in rows
            ],
        )
        write_rows(rows, args)
    return 0


if __name__ == "__main__":
    run_script(main)
