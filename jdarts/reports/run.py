"""What the folder of a run holds, as far as it goes; read by `jdarts.reports.read`."""

import dataclasses
from pathlib import Path
from typing import Any

from jdarts.config import AnySearchConfig
from jdarts.io.data_facts import DataFacts
from jdarts.io.records import Row
from jdarts.io.run_config import Extension
from jdarts.spaces import Genotype, SearchSpace, get_space

__all__ = ["ComparisonRun", "Row", "SearchRun", "Seed", "TrainRun"]


@dataclasses.dataclass(frozen=True)
class Seed:
    """What one seed has left so far.

    Attributes:
      seed: the seed.
      path: its folder.
      steps: rows of steps, oldest first.
      epochs: rows of whole epochs, and of the run's end if that is inside one.
      arch: the architecture's parameters, by the same rule; none of a training.
      genotypes: epoch to genotype; none of a training.
      final: what a search ended with, or what is trained; None before its end.
    """

    seed: int
    path: Path
    steps: list[Row]
    epochs: list[Row]
    arch: list[Row]
    genotypes: dict[int, Genotype]
    final: Genotype | None

    @property
    def genotype(self) -> Genotype | None:
        """The final genotype, or else the last epoch's."""
        if self.final is None and self.genotypes:
            return self.genotypes[max(self.genotypes)]
        return self.final

    @property
    def result_row(self) -> Row:
        """The row of the epoch that the genotype was derived after: the last one, or an
        earlier one where the search has stopped early. What rows say of a genotype is
        read here. There has to be an epoch. Empty if the row is not there."""
        last = self.epochs[-1]
        epoch = last.get("result_epoch", last["epoch"])
        return next((row for row in self.epochs if row["epoch"] == epoch), {})


@dataclasses.dataclass(frozen=True)
class _Run:
    """A run: finished, going on, broken off, or not begun.

    Attributes:
      path: its folder.
      seeds: one entry or more.
      timing: rows of ``timing.jsonl``.
      cost: what `jdarts.cost` has written to ``cost.json``, if it has.
      facts: what its images were; None where that was not written down, as of texts.
      damage: a line for everything that is not there although it was written, or that
        is damaged and left out.
      extensions: how it went on for more epochs than planned.
    """

    path: Path
    seeds: list[Seed]
    timing: list[Row]
    cost: dict[str, Any] | None
    facts: DataFacts | None
    damage: list[str]
    extensions: list[Extension]

    @property
    def extended(self) -> list[str]:
        """A line for each extension."""
        rows = [row for seed in self.seeds for row in seed.epochs]
        begun = [
            max((row["epoch"] for row in rows if row["step"] < e.step), default=0)
            + bool(e.step)
            for e in self.extensions
        ]
        return [e.described(n) for e, n in zip(self.extensions, begun, strict=True)]

    @property
    def epochs(self) -> int:
        """Epochs that every seed has ended."""
        ended = [seed.epochs[-1:] for seed in self.seeds]
        return min(rows[0]["epoch"] if rows else 0 for rows in ended)

    @property
    def begun(self) -> list[Seed]:
        """Seeds that have ended an epoch."""
        return [seed for seed in self.seeds if seed.epochs]


@dataclasses.dataclass(frozen=True)
class TrainRun(_Run):
    """A training.

    Attributes:
      config: its configuration, a `Recipe`.
      results: what it came to, one a seed, a `TrainResult` or a `TextResult`; none
        before its end.
    """

    config: Any
    results: list[Any]


@dataclasses.dataclass(frozen=True)
class ComparisonRun:
    """A comparison of searches with chance.

    Attributes:
      path: its folder.
      config: what it depends on.
      found: ``compare.json``; None before its end.
      damage: as of any run.
    """

    path: Path
    config: dict[str, Any]
    found: dict[str, Any] | None
    damage: list[str]


@dataclasses.dataclass(frozen=True)
class SearchRun(_Run):
    """A search.

    Attributes:
      config: its configuration.
      trainings: those in its folder, and in its seeds' folders, if they were read.
      comparisons: those in its folder, if they were read.
      stages: what it wrote down of its stages; nothing if it has one.
    """

    config: AnySearchConfig
    trainings: list[TrainRun]
    comparisons: list[ComparisonRun]
    stages: list[Row]

    @property
    def space(self) -> SearchSpace:
        """What is searched."""
        return get_space(self.config.space)

    @property
    def finished(self) -> bool:
        """Whether the search has come to its end."""
        return all(seed.final is not None for seed in self.seeds)
