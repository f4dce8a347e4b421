"""``python -m jdarts.regret RUN...``: true accuracies of searches, by method."""

import sys

from jdarts.entry import start

if __name__ == "__main__":  # before the imports that take seconds
    sys.exit(start("regret", sys.argv[1:]))

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from jdarts.cli import parse_options
from jdarts.errors import UserError
from jdarts.io import write_atomic
from jdarts.reports.labels import check_alike, check_distinct
from jdarts.reports.read import read_search
from jdarts.reports.regret import (
    HEAD,
    check_one_table,
    groups_of,
    regret_page,
    sentence,
)

__all__ = ["RegretOptions", "main"]


@dataclasses.dataclass(frozen=True)
class RegretOptions:
    """Which searches."""

    runs: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")
    ]
    """Folders of searches with --table; those that differ in their seeds alone are
    taken together."""
    out: Path | None = None
    """The page to write; not given: regret.html in the first run's folder."""

    def __post_init__(self) -> None:
        """Raises a UserError if there are none."""
        if not self.runs:
            raise UserError("RUN: none given; expected folders of searches")


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit status."""
    options = parse_options(
        RegretOptions,
        arguments,
        prog="python -m jdarts.regret",
        description="Regret curves and true test accuracies of searches whose cells a "
        "table knows, mean and deviation over seeds, beside random cells.",
    )
    runs = [read_search(path) for path in options.runs]
    check_distinct(runs)
    check_alike(runs, ("space", "table_data"))
    groups = groups_of(runs)
    check_one_table(groups)
    file = options.out or options.runs[0] / "regret.html"
    write_atomic(file, regret_page(groups))
    rows = [HEAD, *(list(group.cells()) for group in groups)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())
    print(f"\n{sentence(groups)}\nwritten: {file}")
    return 0
