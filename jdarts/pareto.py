"""``python -m jdarts.pareto RUN...``: cost against quality over several searches."""

import sys

from jdarts.entry import start

if __name__ == "__main__":  # before the imports that take seconds
    sys.exit(start("pareto", sys.argv[1:]))

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from jdarts.cli import parse_options
from jdarts.errors import UserError, unknown_choice
from jdarts.hardware import COSTS, model_of
from jdarts.io import write_atomic
from jdarts.limits import check_numbers
from jdarts.reports.labels import check_alike, check_distinct, check_images
from jdarts.reports.pareto import (
    QUALITIES,
    Point,
    accuracy,
    front_page,
    luck,
    non_dominated,
    points_of,
    trend,
)
from jdarts.reports.read import read_run
from jdarts.reports.run import SearchRun
from jdarts.run_network import PUBLISHED, RunNetwork, network_of_run

__all__ = ["ParetoOptions", "main"]


@dataclasses.dataclass(frozen=True)
class ParetoOptions:
    """Which searches, and what is compared."""

    runs: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")
    ]
    """Folders of finished searches in one space on the same data: of several weights,
    say."""
    cost: str = "parameters"
    """parameters, multiply_adds or latency, of the derived networks."""
    quality: str | None = None
    """table (known test accuracy), retrained (mean of the trainings in the folder) or
    supernet (on the validation half); not given: the first that all searches have."""
    channels: int | None = None
    """Width of the networks whose cost it is, >= 1. Sizes that are not given are those
    of the first run's own recipe and images."""
    layers: int | None = None
    """Their number of cells, >= 1."""
    classes: int | None = None
    """Their number of classes, >= 2."""
    stem: str | None = None
    """Their stem: cifar or imagenet."""
    image: tuple[int, int, int] | None = None
    """Height, width and channels of an image."""
    latency_table: Path | None = None
    """For latency: what ``python -m jdarts.latency`` has measured."""
    out: Path | None = None
    """The page to write; not given: pareto.html in the first run's folder."""

    def __post_init__(self) -> None:
        """Raises a UserError that names the field."""
        check_numbers(self)
        if not self.runs:
            raise UserError("RUN: none given; expected folders of searches")
        if self.cost not in COSTS:
            raise unknown_choice("--cost", self.cost, COSTS)
        if self.quality is not None and self.quality not in QUALITIES:
            raise unknown_choice("--quality", self.quality, QUALITIES)
        self.network(PUBLISHED).shape.check_sizes()
        if (self.cost == "latency") != (self.latency_table is not None):
            raise UserError(
                "--latency-table: --cost latency and a table go together; found "
                f"--cost {self.cost}"
            )

    def network(self, usual: RunNetwork) -> RunNetwork:
        """The networks' size: the usual one where none is given."""
        return usual.resized(
            channels=self.channels,
            layers=self.layers,
            classes=self.classes,
            stem=self.stem,
            image=self.image,
        )


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit status."""
    options = parse_options(
        ParetoOptions,
        arguments,
        prog="python -m jdarts.pareto",
        description="Cost and quality of what several searches found: which of them no "
        "other one beats in both, as a table and as a page.",
    )
    runs = read_searches(options.runs)
    check_alike(runs, ["space"])
    check_images(runs)
    where = "--latency-table"
    network = options.network(network_of_run(runs[0].path) or PUBLISHED)
    model = model_of(
        options.cost, runs[0].space, network.shape, options.latency_table, where
    )
    points, quality = points_of(runs, model.of, options.quality)
    if quality == "table":
        check_alike(runs, ("table_data",))
    kept = non_dominated([p.cost for p in points], [p.quality for p in points])
    unit = COSTS[options.cost]
    lead = (
        f"{kept.sum()} of {len(points)} networks are on the front of {unit} and "
        f"{quality} accuracy. {luck(points, kept)} Networks of {network.described}."
    )
    lead = f"{lead} {trend(runs, points, unit)}".strip()
    file = options.out or options.runs[0] / "pareto.html"
    write_atomic(file, front_page(points, kept, unit, quality, lead))
    print("\n".join([*_table(points, kept, unit), "", lead, f"written: {file}"]))
    return 0


def read_searches(paths: tuple[Path, ...]) -> list[SearchRun]:
    """Reads runs, each a search, each once."""
    runs = []
    for path in paths:
        run = read_run(path)
        if not isinstance(run, SearchRun):
            raise UserError(f"{path}: no search; expected the folder of a search")
        runs.append(run)
    check_distinct(runs)
    return runs


def _table(points: list[Point], kept, unit: str) -> list[str]:
    """The points by cost; a star marks those on the front."""
    lines = [f"   {unit:>16}  {'accuracy':>10}  search"]
    order = sorted(range(len(points)), key=lambda i: points[i].cost)
    for i in order:
        point = points[i]
        figures = f"{point.cost:>16,.4f}"
        if float(point.cost).is_integer():
            figures = f"{point.cost:>16,.0f}"
        lines.append(
            f" {'*' if kept[i] else ' '} {figures}  {accuracy(point):>8} %  "
            f"{point.label}, seed {point.seed} ({point.path})"
        )
    return lines
