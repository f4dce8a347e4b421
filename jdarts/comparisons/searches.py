"""The searches that a comparison is about: read from their folders and checked."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jdarts.config import SearchConfig
from jdarts.data import DataConfig, get_dataset
from jdarts.errors import UserError
from jdarts.loops.stages import first_stage
from jdarts.methods import random_genotype_of
from jdarts.reports.labels import digest_of
from jdarts.reports.read import read_search
from jdarts.reports.run import SearchRun, Seed
from jdarts.spaces import Genotype
from jdarts.spaces.random import random_genotype

__all__ = ["Search", "read_searches"]

PERTURBATION = "perturbation.json"  # of a folder that `jdarts.perturb` has written
# The fields of DataConfig that say which images there are, not how they are used.
_IMAGES = ("name", "classes", "limit", "resize")


@dataclasses.dataclass(frozen=True)
class Search:
    """One search with one seed.

    Attributes:
      path: its folder.
      seed: its seed.
      space: the name of its space.
      data: its data set and augmentation.
      images: which images these were, see `digest_of`.
      genotype: what it found.
      epochs: the genotype after each epoch, from 1.
      draw: draws a random genotype of the kind that it could have found: by the
        derivation of its method, with its cap of skip connections.
    """

    path: Path
    seed: int
    space: str
    data: DataConfig
    images: str | None
    genotype: Genotype
    epochs: dict[int, Genotype]
    draw: Callable[[np.random.Generator], Genotype]


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
        images=digest_of(seed.path),
        genotype=seed.genotype,
        epochs=seed.genotypes,
        draw=_draw(run.config, seed.path),  # pyrefly: ignore (checked)
    )


def _draw(
    config: SearchConfig, path: Path
) -> Callable[[np.random.Generator], Genotype]:
    space = first_stage(config).space
    if (path / PERTURBATION).is_file():  # it has asked each edge and each node itself
        return functools.partial(random_genotype, space)
    return functools.partial(random_genotype_of, config.method, space)


def _check_like(search: Search, first: Search) -> None:
    """Raises a UserError unless both can be compared."""
    if search.space != first.space:
        raise UserError(
            f"{search.path}: space '{search.space}', but {first.path} has "
            f"'{first.space}'; expected searches of one space"
        )
    told = search.images is not None and first.images is not None
    here, there = _which(search, told), _which(first, told)
    for name, found in here.items():
        if found != there[name]:
            raise UserError(
                f"{search.path}: {name} {found}, but {first.path} has {there[name]}; "
                "expected searches on the same images"
            )


def _which(search: Search, told: bool) -> dict[str, Any]:
    """What says which images a search had; `told`: both searches wrote it down."""
    data = search.data
    found = {f"--data.{name}": getattr(data, name) for name in _IMAGES}
    if data.limit is not None:  # the split says which ones are kept
        found["--data.split"] = data.split or get_dataset(data.name).split
    return found | ({"images": search.images} if told else {"--data.dir": data.dir})
