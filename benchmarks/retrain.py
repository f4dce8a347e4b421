"""What one training step of a derived network costs, beside the same in PyTorch.

Command: python benchmarks/retrain.py [--genotype DARTS_V2] [--batch 96] [--layers 20]

The published training on CIFAR-10 (auxiliary head, drop path, clipping, SGD with
momentum) on random images of 32 x 32 pixels: compiled without any cache (trace and
compile time apart), then timed in turn with eager PyTorch in another process,
round by round. `x torch` is how many times as long the faster layout of PyTorch takes;
`x compiled` the same of `torch.compile` (with --torch-compile), whose compile time is
that of its first step.
"""

import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
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
from torch_plan import derived_plan

import jdarts
from jdarts.compile import compile_timed
from jdarts.spaces import zoo_genotype
from jdarts.training import TrainOptimizer, TrainSettings, make_trainer

SIDE, CLASSES = 32, 10
DROP_PATH, EPOCHS, PER_EPOCH = 0.2, 2, 1  # from the second step on at rate 0.1
OURS = "jdarts"


def parser() -> Parser:
    parser = Parser(__doc__, batch=96, channels=36, layers=20, rounds=3)
    parser.add_torch()
    parser.add_argument(
        "--genotype", default="DARTS_V2", help="a name of the zoo (default DARTS_V2)"
    )
    parser.add_argument("--remat", action="store_true", help="rematerialise cells")
    parser.add_argument(
        "--scan", action="store_true", help="run equal cells as one loop"
    )
    parser.add_torch_compile(["channels_last", "nchw"])
    return parser


def build(args: Any) -> tuple[Callable[..., Any], tuple]:
    """A training step to compile, and its arguments."""
    network = jdarts.fixed_network(
        zoo_genotype(args.genotype),
        channels=args.channels,
        layers=args.layers,
        classes=CLASSES,
        auxiliary=True,
        scan=args.scan,
        remat=args.remat,
    )
    settings = TrainSettings(TrainOptimizer(), EPOCHS, drop_path=DROP_PATH)
    trainer = make_trainer(network, settings, PER_EPOCH)
    images = jax.random.normal(jax.random.key(0), (args.batch, SIDE, SIDE, 3))
    batch = jdarts.Batch(images, jnp.arange(args.batch) % CLASSES)
    state = trainer.init(jax.random.key(1), images)
    return trainer.step, (jax.random.key(2), state._replace(step=state.step + 1), batch)


def measure(args: Any) -> list[Row]:
    step, arguments = build(args)
    compiled = compile_timed(step, *arguments)
    print(
        f"compiled: trace {compiled.trace_seconds:.1f} s, "
        f"compile {compiled.compile_seconds:.1f} s",
        file=sys.stderr,
    )
    candidates: dict[str, Any] = {OURS: JaxCandidate(compiled, arguments)}
    plan = derived_plan(
        zoo_genotype(args.genotype), args.channels, args.layers, CLASSES
    )
    with torch_process(not args.no_torch) as process:
        if process is not None:
            for name, compiled_too, layout in torch_kinds(args):
                candidates[name] = process.make(
                    "training",
                    plan=plan,
                    batch=args.batch,
                    drop_path=DROP_PATH / EPOCHS,
                    channels_last=layout == "channels_last",
                    compiled=compiled_too,
                )
        seconds = medians(candidates, args.rounds)
    own = seconds.pop(OURS)
    first = Row(
        OURS,
        own,
        ratio(fastest(seconds, "torch"), own),
        compiled.trace_seconds,
        compiled.compile_seconds,
        peak_bytes(compiled),
        {"ratio_to_torch_compile": ratio(fastest(seconds, "torch.compile"), own)},
    )
    others = (
        Row(name, value, compile_seconds=candidates[name].compile_seconds)
        for name, value in seconds.items()
    )
    return [first, *others]


def main(argv: list[str]) -> int:
    args = parser().parse(argv)
    rows = measure(args)
    print_table(
        (
            *("training step", "seconds", "x torch", "x compiled", "trace s"),
            *("compile s", "MiB"),
        ),
        [
            (
                row.name,
                row.seconds,
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
