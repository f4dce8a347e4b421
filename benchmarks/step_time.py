"""First order against second order: what one search step costs.

Command: python benchmarks/step_time.py [--batch 16] [--channels 16] [--layers 8]

Builds the search step of every hypergradient on random images of 32 x 32 pixels,
compiles it (trace and compile time apart), and then times all of them in turn, round by
round, so that a change of the machine's speed meets all alike. Prints medians and the
ratio to the first row; with --json appends one object a row.
"""

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import jdarts
from jdarts.cli import use_huge_pages
from jdarts.compile import Compiled, compile_timed

STEPS = {
    "first order": {"name": "first_order"},
    "exact, K=1, forward": {"name": "unrolled", "mode": "forward"},
    "exact, K=1, reverse": {"name": "unrolled", "mode": "reverse"},
    "exact, K=3, forward": {"name": "unrolled", "mode": "forward", "steps": 3},
    "finite difference": {"name": "finite_difference"},
}
REPEAT = 3  # steps in one timed call: buffers are allocated once a call


def build(options: dict[str, Any], args: argparse.Namespace) -> tuple[Compiled, tuple]:
    """The compiled loop of REPEAT steps, and its arguments."""
    space = jdarts.get_space(args.space)
    network = jdarts.supernet(
        space, channels=args.channels, layers=args.layers, classes=10, remat=args.remat
    )
    config = jdarts.DartsConfig(hypergradient=jdarts.HypergradientConfig(**options))
    method = jdarts.build_method(config, space, network, epochs=1, steps_per_epoch=100)
    images = jax.random.normal(jax.random.key(0), (args.batch, 32, 32, 3))
    batch = jdarts.Batch(images, jnp.arange(args.batch) % 10)
    train = jax.tree.map(lambda x: jnp.stack([x] * method.train_batches), batch)
    batches = jdarts.SearchBatches(train, batch)
    state = method.init(jax.random.key(1), images)

    def run(key: jax.Array, state: Any, batches: Any) -> Any:
        def body(_: jax.Array, state: Any) -> Any:
            return method.step(key, state, batches)[0]

        return jax.lax.fori_loop(0, REPEAT, body, state)

    arguments = (jax.random.key(2), state, batches)
    return compile_timed(run, *arguments), arguments


def environment() -> dict[str, Any]:
    return {
        "jax": jax.__version__,
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
        "threads": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }


def report(cells: tuple[str, ...]) -> None:
    print(f"{cells[0]:22}", *(f"{cell:>10}" for cell in cells[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", default="darts_cnn")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--remat", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    built = {name: build(STEPS[name], args) for name in args.only}
    times: dict[str, list[float]] = {name: [] for name in built}
    for round_number in range(args.rounds + 1):  # the first round warms up
        for name, (compiled, arguments) in built.items():
            start = time.perf_counter()
            jax.block_until_ready(compiled.call(*arguments))
            if round_number:
                times[name].append((time.perf_counter() - start) / REPEAT)
    base = statistics.median(times[args.only[0]])
    report(("step", "seconds", "ratio", "trace s", "compile s", "MiB"))
    for name, (compiled, _) in built.items():
        seconds = statistics.median(times[name])
        memory = (compiled.temp_bytes or 0) / 2**20
        cost = (compiled.trace_seconds, compiled.compile_seconds)
        figures = (
            f"{seconds:.3f}",
            f"{seconds / base:.2f}",
            *(f"{c:.1f}" for c in cost),
        )
        report((name, *figures, f"{memory:.0f}"))
        row = {
            "name": name,
            "seconds": seconds,
            "ratio_to_torch": None,
            "trace_seconds": compiled.trace_seconds,
            "compile_seconds": compiled.compile_seconds,
            "peak_bytes": compiled.temp_bytes,
            "settings": {k: v for k, v in vars(args).items() if k != "json"},
            **environment(),
        }
        if args.json:
            with args.json.open("a") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    use_huge_pages()
    main()
