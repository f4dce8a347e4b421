"""The searches that a comparison is about: read from their folders and checked."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from jdarts.config import SearchConfig
from jdarts.data import DataConfig
from jdarts.errors import UserError
from jdarts.reports.run import SearchRun, Seed, read_search
from jdarts.spaces import Genotype

__all__ = ["Search", "read_searches"]

# The fields of DataConfig that say which images there are, not how they are used.
_IMAGES = ("name", "dir", "classes", "limit")


@dataclasses.dataclass(frozen=True)
class Search:
    """One search with one seed.

    Attributes:
      path: its folder.
      seed: its seed.
      space: the name of its space.
      data: its data set and augmentation.
      genotype: what it found.
      epochs: the genotype after each epoch, from 1.
    """

    path: Path
    seed: int
    space: str
    data: DataConfig
    genotype: Genotype
    epochs: dict[int, Genotype]


def read_searches(
    paths: Sequence[Path], allow_unfinished: bool = False
) -> list[Search]:
    """Reads the searches, each seed of a run of several by itself.

    Args:
      paths: folders of runs.
      allow_unfinished: of a search that has not come to its end, take the genotype of
        its last epoch.

    Raises:
      UserError: if one is no search, is not finished, is given twice, or searched
        another space or on other images than the first.
    """
    searches = []
    for path in paths:
        run = read_search(path)
        if not isinstance(run.config, SearchConfig):
            raise UserError(
                f"{path}: a search on {run.space.task}; expected searches on images"
            )
        searches += [_search(run, seed, allow_unfinished) for seed in run.seeds]
    seen: set[Path] = set()
    for search in searches:
        if search.path.resolve() in seen:
            raise UserError(f"{search.path}: given twice; expected each search once")
        seen.add(search.path.resolve())
        _check_like(search, searches[0])
    return searches


def _search(run: SearchRun, seed: Seed, allow_unfinished: bool) -> Search:
    if seed.genotype is None:
        raise UserError(
            f"{seed.path}: the search has no genotype yet; let it go on: "
            f"python -m jdarts.search {run.path / 'config.json'} --run-dir {run.path}"
        )
    if seed.final is None and not allow_unfinished:
        raise UserError(
            f"{seed.path}: the search is not finished (last epoch: "
            f"{max(seed.genotypes)} of {run.config.epochs}); let it go on, or give "
            "--allow-unfinished for that epoch's genotype"
        )
    return Search(
        path=seed.path,
        seed=seed.seed,
        space=run.config.space,
        data=run.config.data,  # pyrefly: ignore (checked)
        genotype=seed.genotype,
        epochs=seed.genotypes,
    )


def _check_like(search: Search, first: Search) -> None:
    """Raises a UserError unless both can be compared."""
    if search.space != first.space:
        raise UserError(
            f"{search.path}: space '{search.space}', but {first.path} has "
            f"'{first.space}'; expected searches of one space"
        )
    for name in _IMAGES:
        found, expected = getattr(search.data, name), getattr(first.data, name)
        if found != expected:
            raise UserError(
                f"{search.path}: --data.{name} {found}, but {first.path} has "
                f"{expected}; expected searches on the same images"
            )
