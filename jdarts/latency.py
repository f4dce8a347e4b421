"""``python -m jdarts.latency``: how long each primitive takes at each place."""

import sys

from jdarts.entry import start

if __name__ == "__main__":  # before the imports that take seconds
    sys.exit(start("latency", sys.argv[1:]))

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jdarts.cli import parse_options
from jdarts.compile import compile_timed, enable_cache
from jdarts.errors import UserError
from jdarts.io import Progress, write_json
from jdarts.limits import check_numbers
from jdarts.nets.cost import NetworkShape, Part
from jdarts.nets.expected_cost import Place, skeleton
from jdarts.spaces import SPACES, get_space
from jdarts.stopwatch import device_text, median_seconds

__all__ = ["LatencyOptions", "main", "measure"]


@dataclasses.dataclass(frozen=True)
class LatencyOptions:
    """Of which networks; the size must be that of the search that reads the table."""

    out: Path
    """The file to write."""
    space: str = "darts_cnn"
    """The search space: a row of the SPACES table, on images."""
    channels: int = 16
    """Width of the first cells, >= 1."""
    layers: int = 8
    """Number of cells, >= 1."""
    classes: int = 10
    """Number of classes, >= 2."""
    stem: str = "cifar"
    """cifar: one convolution; imagenet: three of stride 2."""
    image: tuple[int, int, int] = (32, 32, 3)
    """Height, width and channels of an image."""
    budget: float = 0.2
    """Seconds that each primitive is timed for at least, > 0."""

    def __post_init__(self) -> None:
        """Raises a UserError that names the field."""
        check_numbers(self)
        self.shape().check_sizes()
        if not self.budget > 0:
            raise UserError(f"--budget: {self.budget}; expected more than 0")
        if self.out.is_dir():
            raise UserError(f"--out: {self.out}: is a folder; expected a file's name")
        if not self.out.absolute().parent.is_dir():
            raise UserError(
                f"--out: {self.out}: there is no such folder; expected one that exists"
            )

    def shape(self) -> NetworkShape:
        """The network's shape."""
        return NetworkShape(
            self.channels, self.layers, self.classes, self.image, self.stem
        )


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit status."""
    options = parse_options(
        LatencyOptions,
        arguments,
        prog="python -m jdarts.latency",
        description="Measures the latency of every primitive at every place of a "
        "space's networks on the first device, one image at a time, for "
        "--hardware.latency-table.",
        space=[name for name, space in SPACES.items() if space.task == "images"],
    )
    frame = skeleton(get_space(options.space), options.shape())
    enable_cache()
    table = measure(options)
    write_json(options.out, table)
    print(
        f"{len(table['entries'])} primitives at their places and {len(frame.fixed)} "
        f"other parts measured on {table['device']}; written to {options.out}"
    )
    return 0


def measure(options: LatencyOptions) -> dict[str, Any]:
    """The table: medians of inference of one image, each part alone."""
    frame = skeleton(get_space(options.space), options.shape())
    places: list[Place] = sorted({place for *_, place in frame.places()})
    parts = {place: place.part() for place in places}
    fixed = {part.same: part for part in frame.fixed}
    with Progress("measuring", len(parts) + len(fixed), stream=sys.stderr) as progress:
        rest = {}
        for number, (key, part) in enumerate(fixed.items(), 1):
            rest[key] = _milliseconds(part, options.budget)
            progress.update(number, part.name)
        entries = []
        for number, (place, part) in enumerate(parts.items(), len(fixed) + 1):
            time = _milliseconds(part, options.budget)
            entries.append(place._asdict() | {"milliseconds": time})
            progress.update(number, part.name)
    return {
        "device": device_text(),
        "space": options.space,
        "network": dataclasses.asdict(options.shape()),
        "fixed_milliseconds": sum(rest[part.same] for part in frame.fixed),
        "entries": entries,
    }


def _milliseconds(part: Part, budget: float) -> float:
    inputs = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), part.inputs)
    variables = part.init(jax.random.key(0))
    if not jax.tree.leaves(variables) and part.name == "skip_connect":
        return 0.0  # the identity: a program that only copies would be timed
    compiled = compile_timed(part.apply, variables, inputs)
    return 1e3 * median_seconds(compiled.call, variables, inputs, budget=budget)
