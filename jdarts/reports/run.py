"""What the folder of a run holds, as far as it goes."""

import dataclasses
from pathlib import Path
from typing import Any

from jdarts.config import AnySearchConfig, from_json
from jdarts.errors import UserError
from jdarts.io import GenotypeLog, read_json, read_metrics
from jdarts.io.run_folder import PART_FILE
from jdarts.loops.text_train import read_text_results
from jdarts.loops.train_record import read_results
from jdarts.spaces import Genotype, SearchSpace, get_space
from jdarts.train_config import Recipe, recipe_from_json, task_of

__all__ = [
    "ComparisonRun",
    "SearchRun",
    "Seed",
    "TrainRun",
    "read_run",
    "read_search",
]

Row = dict[str, Any]


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
        read here. There has to be an epoch."""
        last = self.epochs[-1]
        epoch = last.get("result_epoch", last["epoch"])
        return next(row for row in self.epochs if row["epoch"] == epoch)


@dataclasses.dataclass(frozen=True)
class _Run:
    """A run: finished, going on, broken off, or not begun.

    Attributes:
      path: its folder.
      seeds: one entry or more.
      timing: rows of ``timing.jsonl``.
      cost: what `jdarts.cost` has written to ``cost.json``, if it has.
    """

    path: Path
    seeds: list[Seed]
    timing: list[Row]
    cost: dict[str, Any] | None

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
    """

    path: Path
    config: dict[str, Any]
    found: dict[str, Any] | None


@dataclasses.dataclass(frozen=True)
class SearchRun(_Run):
    """A search.

    Attributes:
      config: its configuration.
      trainings: those in its folder, and in its seeds' folders, if they were read.
      comparisons: those in its folder, likewise.
    """

    config: AnySearchConfig
    trainings: list[TrainRun]
    comparisons: list[ComparisonRun]

    @property
    def space(self) -> SearchSpace:
        """What is searched."""
        return get_space(self.config.space)

    @property
    def stages(self) -> list[Row]:
        """What it wrote down of its stages; nothing if it has one."""
        return _json(self.path / "stages.json") or []

    @property
    def finished(self) -> bool:
        """Whether the search has come to its end."""
        return all(seed.final is not None for seed in self.seeds)


# What a training is on to what reads its results.
_RESULTS = {"images": read_results, "text": read_text_results}


def read_run(path: Path) -> SearchRun | TrainRun | ComparisonRun:
    """Reads the folder of a run, or of one seed of several.

    Args:
      path: the folder; what is not there yet is empty in the result.

    Raises:
      UserError: if it is not the folder of a run, or a file in it is damaged.
    """
    data = _config(path)
    if data.get("kind") == "compare":
        return ComparisonRun(path, data, _json(path / "compare.json"))
    if "genotype" in data:
        config = recipe_from_json(data, str(path / "config.json"))
        read = _RESULTS[task_of(config)]
        results = read(path) if (path / "result.json").exists() else []
        common = _common(path, _seeds(path, config))
        return TrainRun(**common, config=config, results=results)
    run = read_search(path)
    inside = [
        read_run(file.parent)
        for folder in dict.fromkeys([path, *(seed.path for seed in run.seeds)])
        for file in sorted(folder.glob("*/config.json"))
        if not (file.parent / PART_FILE).exists()
    ]
    return dataclasses.replace(
        run,
        trainings=[other for other in inside if isinstance(other, TrainRun)],
        comparisons=[other for other in inside if isinstance(other, ComparisonRun)],
    )


def read_search(path: Path) -> SearchRun:
    """Reads the folder of a search, or of one seed of several; nothing inside it.

    Raises:
      UserError: as `read_run`, or if it is the folder of something else.
    """
    config = from_json(_config(path), str(path / "config.json"))
    common = _common(path, _seeds(path, config))
    return SearchRun(**common, config=config, trainings=[], comparisons=[])


def _config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    if not file.is_file():
        what = "no such folder" if not path.is_dir() else "holds no config.json"
        raise UserError(f"{path}: {what}; expected the folder of a run")
    data = read_json(file)
    if not isinstance(data, dict):
        raise UserError(f"{file}: not a configuration; expected a JSON object")
    return data


def _common(path: Path, seeds: list[Seed]) -> dict[str, Any]:
    timing = path / "timing.jsonl"
    if not timing.exists() and (path / PART_FILE).exists():
        timing = path.parent / "timing.jsonl"
    cost = _json(path / "cost.json")
    return {"path": path, "seeds": seeds, "timing": _rows(timing), "cost": cost}


def _seeds(path: Path, config: AnySearchConfig | Recipe) -> list[Seed]:
    if config.seeds is None:
        folders = [path]
    else:
        folders = [path / f"seed_{seed}" for seed in config.seeds]
    return list(map(_read_seed, config.all_seeds, folders))


def _read_seed(seed: int, folder: Path) -> Seed:
    metrics = _rows(folder / "metrics.jsonl")
    genotypes = GenotypeLog(folder / "genotype.json")
    return Seed(
        seed=seed,
        path=folder,
        steps=[row for row in metrics if row.get("kind") == "step"],
        epochs=_whole_or_last(metrics),
        arch=_whole_or_last(_rows(folder / "arch.jsonl")),
        genotypes=genotypes.epochs,
        final=genotypes.final,
    )


def _whole_or_last(rows: list[Row]) -> list[Row]:
    """The rows of epochs; one of a run that ended inside an epoch only as the last
    row: if the run went on, the epoch has a row of its own."""
    found = [row for row in rows if row.get("kind") in ("epoch", "stop")]
    return [row for row in found if row["kind"] == "epoch" or row is found[-1]]


def _rows(path: Path) -> list[Row]:
    return read_metrics(path) if path.exists() else []


def _json(path: Path) -> Any:
    return read_json(path) if path.exists() else None
