"""``python -m jdarts.report RUN``: everything about a run on one page."""

import dataclasses
import sys
from pathlib import Path

import tyro

from jdarts.cli import parse, run_command
from jdarts.reports import write_report

__all__ = ["main"]


@dataclasses.dataclass(frozen=True)
class _Arguments:
    run: tyro.conf.Positional[Path]
    """The folder of a run, finished or not."""


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit status."""
    about = "Writes report.html into a run's folder."
    command = parse(_Arguments, arguments, "jdarts.report", about)
    print(f"written: {write_report(command.run)}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
