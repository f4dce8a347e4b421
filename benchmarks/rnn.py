"""What a search step for recurrent cells costs, beside the same in PyTorch.

Command: python benchmarks/rnn.py [--units 300] [--batch 256] [--length 35]

Steps on random words, compiled without any cache (trace and compile time apart), then
timed in turn with eager PyTorch in another process, round by round. `x torch` is
how many times as long PyTorch takes, for the exact second order PyTorch's finite
difference. `--compile-only` compiles for several lengths and times nothing.
"""

from typing import Any

import jax
import jax.numpy as jnp
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

from jdarts.compile import compile_timed
from jdarts.data import Segment
from jdarts.hypergradient import HypergradientConfig
from jdarts.methods import SearchBatches, build_method
from jdarts.methods.darts import DartsConfig
from jdarts.nets.language import language_model
from jdarts.nets.recurrent import Dropout, mixed_recurrent
from jdarts.spaces import DARTS_RNN
from jdarts.text_config import TEXT_ARCH, TEXT_WEIGHTS

# Ours, and the step of PyTorch that it is compared with.
STEPS = {
    "first order": ("first_order", "first order"),
    "second order": ("unrolled", "second order"),
}


def parser() -> Parser:
    parser = Parser(__doc__, batch=256, rounds=3)
    for name, default in (("units", 300), ("length", 35), ("vocabulary", 10_000)):
        parser.add_argument(f"--{name}", type=count, default=default)
    parser.add_torch()
    parser.add_argument(
        "--only", nargs="+", choices=list(STEPS), default=list(STEPS), help="steps"
    )
    parser.add_argument(
        "--compile-only",
        nargs="+",
        type=count,
        default=[],
        metavar="LENGTH",
        help="compile for these lengths instead",
    )
    return parser


def build(name: str, args: Any, length: int) -> tuple[Any, tuple]:
    """A search step to compile, and its arguments."""
    network = mixed_recurrent(
        DARTS_RNN, vocabulary=args.vocabulary, units=args.units, dropout=Dropout()
    )
    model = language_model(network, lambda step: 1.0, slowness=1e-3)
    rule = STEPS[name][0]
    config = DartsConfig(
        hypergradient=HypergradientConfig(rule),
        weights=TEXT_WEIGHTS,
        arch=TEXT_ARCH,
        clip_virtual=rule != "first_order",
    )
    method = build_method(config, DARTS_RNN, model, epochs=1, steps_per_epoch=100)

    def segment(seed: int) -> Segment:
        key = jax.random.key(seed)
        tokens = jax.random.randint(key, (length + 1, args.batch), 0, args.vocabulary)
        return Segment(tokens[:-1], tokens[1:], jnp.int32(length), jnp.asarray(False))

    valid = segment(0)
    state = method.init(jax.random.key(1), valid)
    train = jax.tree.map(lambda x: x[None], segment(2))
    return method.step, (jax.random.key(3), state, SearchBatches(train, valid))


def compiled_rows(args: Any) -> list[Row]:
    rows = []
    for name in args.only:
        for length in args.compile_only:
            made = compile_timed(*_flat(build(name, args, length)))
            rows.append(
                Row(
                    f"{name}, length {length}",
                    trace_seconds=made.trace_seconds,
                    compile_seconds=made.compile_seconds,
                    peak_bytes=peak_bytes(made),
                )
            )
    return rows


def measure(args: Any) -> list[Row]:
    candidates: dict[str, Any] = {}
    for name in args.only:
        step, arguments = build(name, args, args.length)
        candidates[name] = JaxCandidate(compile_timed(step, *arguments), arguments)
    with torch_process(not args.no_torch) as process:
        if process is not None:
            for name in args.only:
                candidates[f"torch: {name}"] = process.make(
                    "recurrent",
                    step=STEPS[name][1],
                    vocabulary=args.vocabulary,
                    units=args.units,
                    batch=args.batch,
                    length=args.length,
                )
        seconds = medians(candidates, args.rounds)
    rows = []
    for name, own in seconds.items():
        if name not in STEPS:
            rows.append(Row(name, own))
            continue
        made = candidates[name].compiled
        rows.append(
            Row(
                name,
                own,
                ratio(seconds.get(f"torch: {name}"), own),
                made.trace_seconds,
                made.compile_seconds,
                peak_bytes(made),
            )
        )
    return rows


def _flat(built: tuple[Any, tuple]) -> tuple:
    return built[0], *built[1]


def main(argv: list[str]) -> int:
    args = parser().parse(argv)
    rows = compiled_rows(args) if args.compile_only else measure(args)
    print_table(
        ("search step", "seconds", "x torch", "trace s", "compile s", "MiB"),
        [
            (
                row.name,
                row.seconds,
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
