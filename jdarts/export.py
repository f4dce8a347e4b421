"""``python -m jdarts.export RUN``: a trained network for other programs."""

import sys

from jdarts.entry import start

if __name__ == "__main__":  # before the imports that take seconds
    sys.exit(start("export", sys.argv[1:]))

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from jdarts.cli import parse_options
from jdarts.compile import enable_cache
from jdarts.errors import UserError, unknown_choice
from jdarts.exports import FORMATS, load_trained, write_exports

__all__ = ["ExportOptions", "main"]


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """Which training, and into what."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The folder of a finished training."""
    formats: tuple[str, ...] = ("npz", "jax")
    """npz: the weights by name; jax: a program for cpu, cuda and tpu that runs with jax
    alone; onnx: a model for ONNX runtimes (needs the extra jdarts[onnx])."""
    seed: int | None = None
    """Which seed, of a training of several."""
    out: Path | None = None
    """Folder of the files; not given: "export" in the run's folder, of several seeds
    "export/seed_N"."""

    def __post_init__(self) -> None:
        """Raises a UserError for an unknown format."""
        if not self.formats:
            raise UserError("--formats: none given; expected some, as in npz jax onnx")
        for name in self.formats:
            if name not in FORMATS:
                raise unknown_choice("--formats", name, FORMATS)


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit status."""
    options = parse_options(
        ExportOptions,
        arguments,
        prog="python -m jdarts.export",
        description="Writes a trained network as files for other programs, each "
        "checked to give the same logits on real images.",
    )
    enable_cache()
    trained = load_trained(options.run, options.seed)
    several = len(trained.config.all_seeds) > 1
    own = options.run / "export" / (f"seed_{trained.seed}" if several else "")
    for file in write_exports(trained, options.formats, options.out or own):
        print(f"written: {file}")
    return 0
