"""``python -m jdarts.cost``: what a derived network costs, part by part."""

import sys

from jdarts.entry import start
from jdarts.phase import phased

if __name__ == "__main__":  # before the imports that take seconds
    sys.exit(start("cost", sys.argv[1:]))

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import rich.box
import rich.console
import rich.table
import tyro

from jdarts.cli import parse_options
from jdarts.compile import compile_timed, enable_cache
from jdarts.errors import UserError
from jdarts.io import Progress, load_genotype, split_choice, write_json
from jdarts.io.printed import is_printed
from jdarts.limits import check_numbers
from jdarts.nets.cost import Cost, NetworkShape, auxiliary_head, network_cost, parts
from jdarts.nets.fixed import fixed_network
from jdarts.nets.stems import STEMS
from jdarts.run_network import PUBLISHED, RunNetwork, network_of_run
from jdarts.spaces import ZOO, Genotype
from jdarts.stopwatch import device_text, median_seconds
from jdarts.types import PyTree

__all__ = ["CostOptions", "Row", "count", "main", "measure"]

_IMAGES = {"cifar": (32, 32, 3), "imagenet": (224, 224, 3)}
_MIB = 2**20


@dataclasses.dataclass(frozen=True)
class CostOptions:
    """Which network, and what to measure."""

    genotype: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="WHICH")]
    """The folder of a search (RUN@5: the genotype of epoch 5), a file of genotypes
    (FILE@NAME: one of several), a genotype as programs print it, or the name of a
    published one."""
    allow_unfinished: bool = False
    """Of a search that is not finished, take the genotype of its last epoch."""
    channels: int | None = None
    """Width of the first cells, >= 1. Sizes that are not given are those of the run's
    own recipe and images; of a genotype without a run, 36 channels, 20 cells, 10
    classes and the stem cifar."""
    layers: int | None = None
    """Number of cells, >= 1."""
    classes: int | None = None
    """Number of classes, >= 2."""
    stem: str | None = None
    """cifar: one convolution; imagenet: three of stride 2."""
    image: tuple[int, int, int] | None = None
    """Height, width and channels of an image; without a run 32 32 3, or 224 224 3 with
    the stem imagenet."""
    batch_size: int = 32
    """Images in the batch of which activations are counted, and which is timed beside
    a single image, >= 2."""
    latency: bool = False
    """Also compile and time inference, which takes minutes for deep networks; without
    it everything is counted only, which takes seconds."""
    json: Path | None = None
    """Also write the figures to this file."""

    def __post_init__(self) -> None:
        """Raises a UserError that names the field."""
        check_numbers(self)
        if self.batch_size < 2:
            raise UserError(f"--batch-size: {self.batch_size}; expected at least 2")
        self.network(PUBLISHED).shape.check_sizes()
        if self.json is not None and not self.json.absolute().parent.is_dir():
            raise UserError(f"--json: {self.json}: there is no such folder")

    def network(self, usual: RunNetwork) -> RunNetwork:
        """The network, if it is a valid one, with the usual sizes where none is given.

        The usual images of a genotype without a run go with the stem.
        """
        image = self.image
        if usual is PUBLISHED and image is None and self.stem is not None:
            image = _IMAGES.get(self.stem)
        return usual.resized(
            channels=self.channels,
            layers=self.layers,
            classes=self.classes,
            stem=self.stem,
            image=image,
        )


@dataclasses.dataclass
class Row:
    """A part, or the whole network.

    Attributes:
      name: in the table.
      output: ``(height, width, channels)``, or ``(classes,)``.
      cost: parameters and multiply-adds.
      kept_bytes: activation memory of a training step with the batch.
      seconds: number of images to the median time of inference.
      temp_bytes: number of images to the memory that inference needs beyond weights,
        images and results, where the platform tells; of the whole network only.
    """

    name: str
    output: tuple[int, ...]
    cost: Cost
    kept_bytes: int
    seconds: dict[int, float] = dataclasses.field(default_factory=dict)
    temp_bytes: dict[int, int] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.name,
            "output": list(self.output),
            **self.cost._asdict(),
            "kept_bytes": self.kept_bytes,
            "seconds": self.seconds,
            "temp_bytes": self.temp_bytes,
        }


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit status."""
    options = parse_options(
        CostOptions,
        arguments,
        prog="python -m jdarts.cost",
        description="Parameters, multiply-adds, activation memory and latency of the "
        f"network that a genotype makes. Published ones: {', '.join(ZOO)}.",
        stem=STEMS,
    )
    genotype = load_genotype(options.genotype, options.allow_unfinished)
    network = options.network(_usual(options.genotype))
    shape = network.shape
    shape.check(genotype)
    rows, total = count(genotype, shape, options.batch_size)
    if options.latency:
        enable_cache()
        measure(rows, total, genotype, shape, options.batch_size)
    head = auxiliary_head(genotype, shape, 1)
    extra = None if head is None else head.cost()
    if options.json is not None:
        write_json(options.json, to_json(options, shape, genotype, rows, total, extra))
    print(f"network: {network.described}")
    print_table(options, rows, total, extra)
    return 0


def _usual(which: str) -> RunNetwork:
    """The network that a genotype is usually put into."""
    if which in ZOO or is_printed(which):
        return PUBLISHED
    path, _ = split_choice(which)
    folder = path.parent if path.is_file() else path
    return network_of_run(folder) or PUBLISHED


@phased("counting")
def count(genotype: Genotype, shape: NetworkShape, batch: int) -> tuple[list[Row], Row]:
    """What needs no running: a row for each part, and that of the whole network."""
    rows, kept = [], {}
    pieces = parts(genotype, shape, batch)
    for part, cost in zip(pieces, network_cost(genotype, shape), strict=True):
        if part.same not in kept:
            kept[part.same] = part.kept_bytes()
        rows.append(Row(part.name, part.output(), cost, kept[part.same]))
    cost = functools.reduce(Cost.plus, (row.cost for row in rows))
    total = Row("in all", rows[-1].output, cost, sum(row.kept_bytes for row in rows))
    return rows, total


def measure(
    rows: list[Row], total: Row, genotype: Genotype, shape: NetworkShape, batch: int
) -> None:
    """Compiles and times inference of one image and of the batch; fills the rows."""
    sizes = (1, batch)
    pieces = {size: parts(genotype, shape, size) for size in sizes}
    distinct = {part.same: part for size in sizes for part in pieces[size]}
    seconds: dict[Any, float] = {}
    with Progress("measuring", len(distinct) + 2, stream=sys.stderr) as progress:
        for number, (key, part) in enumerate(distinct.items(), 1):
            inputs = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), part.inputs)
            call = part.init(jax.random.key(0)), inputs
            seconds[key] = _time(part.apply, *call)[0]
            progress.update(number, part.name)
        network = fixed_network(
            genotype,
            channels=shape.channels,
            layers=shape.layers,
            classes=shape.classes,
            stem=shape.stem,  # type: ignore[arg-type]
            scan=True,  # without a backward pass a loop costs nothing
        )

        def logits(w: PyTree, statistics: PyTree, images: jax.Array) -> jax.Array:
            return network.apply(w, statistics, images, False)[0].logits

        for number, size in enumerate(sizes, len(distinct) + 1):
            images = jnp.zeros(shape.images(size).shape)
            state = network.init(jax.random.key(0), images)
            total.seconds[size], temp = _time(logits, *state, images)
            if temp is not None:
                total.temp_bytes[size] = temp
            progress.update(number, "the whole network")
    for size in sizes:
        for row, part in zip(rows, pieces[size], strict=True):
            row.seconds[size] = seconds[part.same]


def _time(fun: Callable[..., Any], *args: Any) -> tuple[float, int | None]:
    compiled = compile_timed(fun, *args)
    return median_seconds(compiled.call, *args), compiled.temp_bytes


# --- what is printed ------------------------------------------------------------------


def print_table(
    options: CostOptions, rows: list[Row], total: Row, extra: Cost | None
) -> None:
    """Prints the rows, the whole network, and what the columns mean."""
    sizes = sorted(total.seconds)
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("part", no_wrap=True)
    heads = ["output", "parameters", "mult-adds, M", "kept, MiB"]
    for head in [*heads, *(f"ms, batch {size}" for size in sizes)]:
        table.add_column(head, justify="right", no_wrap=True)
    for row in [*rows, total]:
        if row is total:
            table.add_section()
        table.add_row(
            row.name,
            " x ".join(map(str, row.output)),
            f"{row.cost.parameters:,}",
            f"{row.cost.multiply_adds / 1e6:.2f}",
            f"{row.kept_bytes / _MIB:.1f}",
            *(f"{1e3 * row.seconds[size]:.2f}" for size in sizes),
        )
    console = rich.console.Console(width=None if sys.stdout.isatty() else 120)
    console.print(table, *_notes(options, total, extra), sep="\n", highlight=False)


def _notes(options: CostOptions, total: Row, extra: Cost | None) -> list[str]:
    notes = [
        "mult-adds: of convolutions and linear layers, one image; published ones are 3 "
        "to 8 % higher (DARTS_V2 on ImageNet: 574 M, here 530 M)",
        f"kept: values that a training step with batch {options.batch_size} keeps for "
        "its backward pass, as traced",
    ]
    if extra is not None:
        notes.append(
            f"auxiliary head, in training only: {extra.parameters:,} parameters, "
            f"{extra.multiply_adds / 1e6:.2f} M mult-adds"
        )
    if not total.seconds:
        notes.append("times: --latency measures them")
    if total.seconds:
        notes.append(f"ms: median of inference, each part alone, on {device_text()}")
    for size, temp in sorted(total.temp_bytes.items()):
        notes.append(
            f"memory of inference beyond weights and images, batch {size}: "
            f"{temp / _MIB:.1f} MiB"
        )
    return notes


def to_json(
    options: CostOptions,
    shape: NetworkShape,
    genotype: Genotype,
    rows: list[Row],
    total: Row,
    extra: Cost | None,
) -> dict[str, Any]:
    """All figures as plain data; times in seconds."""
    return {
        "which": options.genotype,
        "network": dataclasses.asdict(shape),
        "batch_size": options.batch_size,
        "device": device_text() if options.latency else None,
        "parts": [row.to_json() for row in rows],
        "total": total.to_json(),
        "auxiliary_head": None if extra is None else extra._asdict(),
        "genotype": genotype.to_json(),
    }
