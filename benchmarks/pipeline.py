"""What the input path costs: drawing and augmenting batches, against the step.

Command: python benchmarks/pipeline.py [--batch 64] [--channels 16] [--layers 8]

The compiled chunk of a search, once as it is and once with a method that keeps each
batch and computes nothing: what is left is the input path. The images are random ones
of CIFAR-10's size and number, augmented as CIFAR-10 is.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import steps
from harness import (
    JaxCandidate,
    Parser,
    Row,
    count,
    medians,
    peak_bytes,
    print_table,
    run_script,
    write_rows,
)

import jdarts
from jdarts.compile import compile_timed
from jdarts.data import DATASETS, AugmentSpec
from jdarts.loops.chunk import MAX_STEPS, DeviceData, make_chunk
from jdarts.sharding import make_mesh

PADDING, CUTOUT = 4, 16


def parser() -> Parser:
    defaults = {"batch": 64, "channels": 16, "layers": 8, "rounds": 3}
    parser = Parser(__doc__, space="darts_cnn", **defaults)
    parser.add_argument("--step", default="first order", help="which step is done")
    parser.add_argument(
        "--images", type=count, default=50000, help="images there are (default 50000)"
    )
    parser.add_argument("--cutout", action="store_true", help="cut out squares, too")
    return parser


def keep_batches(method: jdarts.SearchMethod, batch: int) -> Any:
    """(The method with a step that only keeps its batches, its first state)."""
    nothing = jnp.zeros((), jnp.float32)

    def step(key: jax.Array, state: Any, batches: jdarts.SearchBatches) -> Any:
        # In the state of the loop, so that every batch is really made.
        return state._replace(step=state.step + 1, w=batches), {"nothing": nothing}

    def zeros(*shape: int) -> jdarts.Batch:
        side = steps.SIDE
        images = jnp.zeros((*shape, side, side, 3))
        return jdarts.Batch(images, jnp.zeros(shape, jnp.int32))

    kept = jdarts.SearchBatches(zeros(method.train_batches, batch), zeros(batch))
    arch = jdarts.Arch({}, {})
    state = jdarts.SearchState(jnp.zeros((), jnp.int32), kept, (), arch, (), ())
    return method._replace(step=step), state


def random_data(count: int) -> DeviceData:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, steps.SIDE, steps.SIDE, 3), np.uint8)
    labels = random.integers(0, steps.CLASSES, count, np.int32)
    halves = np.array_split(np.arange(count, dtype=np.int32), 2)
    return DeviceData(*map(jnp.asarray, (images, labels, *halves)))


def measure(args: Any) -> list[Row]:
    method = steps.make_method(args.step, steps.size_of(args))
    data = random_data(args.images)
    cifar = DATASETS["cifar10"]
    assert cifar.mean is not None and cifar.std is not None
    cutout = CUTOUT if args.cutout else 0
    spec = AugmentSpec(PADDING, True, cutout, cifar.mean, cifar.std)
    batch_images = jnp.zeros((args.batch, steps.SIDE, steps.SIDE, 3))
    key = jax.random.key(0)
    real = method, method.init(key, batch_images), 1
    # The input path is so short that a chunk of many steps is timed.
    only_input = *keep_batches(method, args.batch), MAX_STEPS
    candidates = {}
    for name, (m, state, number) in (("step", real), ("input path", only_input)):
        per_epoch = len(data.train) // args.batch
        chunk = make_chunk(
            m, spec, make_mesh(), batch_size=args.batch, steps_per_epoch=per_epoch
        )
        arguments = (key, state, data, np.int32(number))
        compiled = compile_timed(chunk, *arguments)
        candidates[name] = JaxCandidate(compiled, arguments, steps=number)
    seconds = medians(candidates, args.rounds)
    images = (method.train_batches + 1) * args.batch
    return [
        Row(
            name,
            seconds[name],
            None,
            candidate.compiled.trace_seconds,
            candidate.compiled.compile_seconds,
            peak_bytes(candidate.compiled),
            {
                "images_per_second": images / seconds[name],
                "percent_of_step": 100 * seconds[name] / seconds["step"],
            },
        )
        for name, candidate in candidates.items()
    ]


def main(argv: list[str]) -> int:
    args = parser().parse(argv)
    steps.check_step("--step", args.step)
    if args.images < 2 * args.batch:
        raise jdarts.UserError(
            f"--images: {args.images}; expected at least two batches of {args.batch}"
        )
    rows = measure(args)
    print_table(
        ("part", "ms", "images/s", "% of step"),
        [
            (row.name, 1e3 * row.seconds, *row.extra.values())  # type: ignore
            for row in rows
        ],
    )
    write_rows(rows, args)
    return 0


if __name__ == "__main__":
    run_script(main)
