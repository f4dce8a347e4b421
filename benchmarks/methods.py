"""What the steps of the search methods cost, beside those of DARTS.

Command: python benchmarks/methods.py [--batch 64] [--channels 16] [--layers 8]

Whole steps (architecture and weights) of every method with the first-order gradient and
without warm-up, then weight steps alone of those that compute one op an edge; compiled,
and timed in turn. Mixing weights of single ops are drawn in every step: what a
step costs depends on the ops. `x darts` is the time over that of the same step of
DARTS, `memory` the memory over its.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from harness import (
    JaxCandidate,
    Parser,
    Row,
    medians,
    peak_bytes,
    print_table,
    ratio,
    run_script,
    write_rows,
)
from steps import CLASSES, SIDE, Size, size_of

import jdarts
from jdarts.compile import compile_timed
from jdarts.errors import unknown_choice
from jdarts.methods.bilevel import BilevelConfig, all_ops, single_op
from jdarts.problem import BilevelProblem
from jdarts.relaxation import discrete, gumbel, softmax
from jdarts.types import Now

REPEAT = 4  # steps in one timed call
EPOCHS = 50  # schedules go over as many; ASAP's temperature needs them to fall below 1
DARTS = "darts"

WEIGHT_STEPS: dict[str, Callable[..., BilevelProblem]] = {
    DARTS: lambda network, space: all_ops(network, softmax()),
    "nasp": lambda network, space: single_op(network, discrete(space)),
    "gdas": lambda network, space: single_op(network, gumbel(lambda step: 1.0)),
}


def parser() -> Parser:
    defaults = {"batch": 64, "channels": 16, "layers": 8, "rounds": 3}
    parser = Parser(__doc__, space="darts_cnn", **defaults)
    parser.add_argument(
        "--only", nargs="+", default=_bilevel(), help="names of methods"
    )
    return parser


def _bilevel() -> list[str]:
    """The methods that learn the architecture by gradients."""
    return [
        n for n, row in jdarts.METHODS.items() if issubclass(row.config, BilevelConfig)
    ]


def whole_step(name: str, size: Size) -> tuple[Callable[..., Any], tuple]:
    """REPEAT steps of a method, and their arguments."""
    config = jdarts.METHODS[name].config()
    first = jdarts.HypergradientConfig("first_order")
    config = dataclasses.replace(config, hypergradient=first, warmup=0.0)
    network = jdarts.make_supernet(
        config, size.space, channels=size.channels, layers=size.layers, classes=CLASSES
    )
    method = jdarts.build_method(
        config, size.space, network, epochs=EPOCHS, steps_per_epoch=100
    )
    batch = _batch(size)
    batches = jdarts.SearchBatches(jax.tree.map(lambda x: x[None], batch), batch)
    state = method.init(jax.random.key(1), batch.images)

    def run(key: jax.Array, state: Any, batches: jdarts.SearchBatches) -> Any:
        def body(_: jax.Array, state: Any) -> Any:
            arch = state.arch._replace(alpha=_drawn(key, state.step, state.arch.alpha))
            return method.step(key, state._replace(arch=arch), batches)[0]

        return jax.lax.fori_loop(0, REPEAT, body, state)

    return run, (jax.random.key(2), state, batches)


def weight_step(name: str, size: Size) -> tuple[Callable[..., Any], tuple]:
    """REPEAT weight steps, by plain gradient descent."""
    space, batch = size.space, _batch(size)
    network = jdarts.supernet(
        space, channels=size.channels, layers=size.layers, classes=CLASSES
    )
    problem = WEIGHT_STEPS[name](network, space)
    w, model_state = network.init(jax.random.key(1), batch.images)
    alpha = softmax().init(jax.random.key(1), space).alpha

    def run(key: jax.Array, w: Any, model_state: Any, batch: jdarts.Batch) -> Any:
        def body(step: jax.Array, carry: tuple) -> tuple:
            w, model_state = carry
            arch = jdarts.Arch(_drawn(key, step, alpha), {})
            now = Now(jax.random.fold_in(key, step), step)
            slope, (model_state, _) = jax.grad(problem.train_loss, has_aux=True)(
                w, model_state, arch, batch, now
            )
            return jax.tree.map(lambda a, g: a - 0.025 * g, w, slope), model_state

        return jax.lax.fori_loop(0, REPEAT, body, (w, model_state))

    return run, (jax.random.key(2), w, model_state, batch)


def _batch(size: Size) -> jdarts.Batch:
    images = jax.random.normal(jax.random.key(0), (size.batch, SIDE, SIDE, 3))
    return jdarts.Batch(images, jnp.arange(size.batch) % CLASSES)


def _drawn(key: jax.Array, step: jax.Array, alpha: Any) -> Any:
    """Architecture parameters, another draw from [0, 1] in every step."""
    keys = jax.random.split(jax.random.fold_in(key, step), len(alpha))
    return {
        kind: jax.random.uniform(k, a.shape)
        for k, (kind, a) in zip(keys, sorted(alpha.items()), strict=True)
    }


def main(argv: list[str]) -> int:
    args = parser().parse(argv)
    for name in args.only:
        if name not in _bilevel():
            raise unknown_choice("--only", name, _bilevel())
    size, candidates = size_of(args), {}
    made = {f"{name}, step": whole_step(name, size) for name in args.only}
    names = [name for name in WEIGHT_STEPS if name in args.only]
    made |= {f"{name}, weight step": weight_step(name, size) for name in names}
    for name, (run, arguments) in made.items():
        compiled = compile_timed(run, *arguments)
        candidates[name] = JaxCandidate(compiled, arguments, steps=REPEAT)
    seconds = medians(candidates, args.rounds)
    memory = {name: peak_bytes(c.compiled) for name, c in candidates.items()}
    rows = []
    for name, candidate in candidates.items():
        base = f"{DARTS}, {name.split(', ')[1]}"
        extra = {
            "ratio_to_darts": ratio(seconds[name], seconds.get(base)),
            "memory_to_darts": ratio(memory[name], memory.get(base)),
        }
        compiled = candidate.compiled
        times = compiled.trace_seconds, compiled.compile_seconds
        rows.append(Row(name, seconds[name], None, *times, memory[name], extra))
    print_table(
        ("step", "seconds", "x darts", "MiB", "memory", "trace s", "compile s"),
        [
            (
                row.name,
                row.seconds,
                row.extra["ratio_to_darts"],
                row.peak_bytes and row.peak_bytes / 2**20,
                row.extra["memory_to_darts"],
                row.trace_seconds,
                row.compile_seconds,
            )
            for row in rows
        ],
    )
    write_rows(rows, args)
    return 0


if __name__ == "__main__":
    run_script(main)
