"""What the folder of a search holds, as far as it goes."""

import dataclasses
from pathlib import Path
from typing import Any

from jdarts.config import SearchConfig, from_json
from jdarts.errors import UserError
from jdarts.io import GenotypeLog, read_json, read_metrics
from jdarts.io.run_folder import PART_FILE
from jdarts.spaces import Genotype, SearchSpace, get_space

__all__ = ["SearchRun", "Seed", "read_search"]

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Seed:
    """What one seed has left so far.

    Attributes:
      seed: the seed.
      path: its folder.
      steps: rows of steps, oldest first.
      epochs: rows of whole epochs, and of the search's end if that is inside one.
      arch: the architecture's parameters, by the same rule.
      genotypes: epoch to genotype.
      final: what the search ended with; None before its end.
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


@dataclasses.dataclass(frozen=True)
class SearchRun:
    """A search: finished, going on, broken off, or not begun.

    Attributes:
      path: its folder.
      config: its configuration.
      seeds: one entry or more.
      timing: rows of ``timing.jsonl``.
      cost: what `jdarts.cost` has written to ``cost.json``, if it has.
    """

    path: Path
    config: SearchConfig
    seeds: list[Seed]
    timing: list[Row]
    cost: dict[str, Any] | None

    @property
    def space(self) -> SearchSpace:
        """What is searched."""
        return get_space(self.config.space)

    @property
    def finished(self) -> bool:
        """Whether the search has come to its end."""
        return all(seed.final is not None for seed in self.seeds)

    @property
    def epochs(self) -> int:
        """Epochs that every seed has ended."""
        return min(
            seed.epochs[-1]["epoch"] if seed.epochs else 0 for seed in self.seeds
        )


def read_search(path: Path) -> SearchRun:
    """Reads the folder of a search, or of one seed of several.

    Args:
      path: the folder; what is not there yet is empty in the result.

    Raises:
      UserError: if it is not the folder of a run, or a file in it is damaged.
    """
    config_file = path / "config.json"
    if not config_file.is_file():
        what = "no such folder" if not path.is_dir() else "holds no config.json"
        raise UserError(f"{path}: {what}; expected the folder of a run")
    config = from_json(read_json(config_file), str(config_file))
    if config.seeds is None:
        folders = [path]
    else:
        folders = [path / f"seed_{seed}" for seed in config.seeds]
    seeds = list(map(_read_seed, config.all_seeds, folders))
    timing = path / "timing.jsonl"
    if not timing.exists() and (path / PART_FILE).exists():
        timing = path.parent / "timing.jsonl"
    cost = path / "cost.json"
    measured = read_json(cost) if cost.exists() else None
    return SearchRun(path, config, seeds, _rows(timing), measured)


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
    """The rows of epochs; one of a search that ended inside an epoch only as the last
    row: if the search went on, the epoch has a row of its own."""
    found = [row for row in rows if row.get("kind") in ("epoch", "stop")]
    return [row for row in found if row["kind"] == "epoch" or row is found[-1]]


def _rows(path: Path) -> list[Row]:
    return read_metrics(path) if path.exists() else []
