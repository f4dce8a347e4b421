"""``python -m jdarts.report RUN``: everything about a run on one page."""

import sys

from jdarts.entry import start

if __name__ == "__main__":  # before the imports that take seconds
    sys.exit(start("report", sys.argv[1:]))

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from jdarts.cli import parse_options
from jdarts.errors import unknown_choice
from jdarts.reports import DRAWINGS, write_drawings, write_report, write_tensorboard

__all__ = ["ReportOptions", "main"]


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """Which run, and what to write into its folder."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The run's folder; the run may be finished, going on, broken off or not begun."""
    cells: tuple[str, ...] = ()
    """Also draw the derived cells into separate files: svg, dot (Graphviz), png
    (needs the extra jdarts[draw])."""
    tensorboard: bool = False
    """Also write the metrics as TensorBoard event files (needs the extra
    jdarts[tensorboard])."""

    def __post_init__(self) -> None:
        """Raises a UserError for an unknown kind of drawing."""
        for kind in self.cells:
            if kind not in DRAWINGS:
                raise unknown_choice("--cells", kind, DRAWINGS)


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit status."""
    options = parse_options(
        ReportOptions,
        arguments,
        prog="python -m jdarts.report",
        description="Writes report.html into a run's folder: one page, self-contained.",
    )
    files = write_drawings(options.run, options.cells)
    if options.tensorboard:
        files += write_tensorboard(options.run)
    for file in [*files, write_report(options.run)]:
        print(f"written: {file}")
    return 0
