"""The command line of a comparison."""

import dataclasses
from pathlib import Path
from typing import Annotated, NamedTuple

import tyro

from jdarts.cli import one_line_errors
from jdarts.comparisons.plan import MEASURES
from jdarts.comparisons.searches import Search, read_searches
from jdarts.errors import UserError, unknown_choice
from jdarts.limits import check_numbers
from jdarts.options import check_options, option_types
from jdarts.recipes import GENERAL, general_recipe, on_images_of, recipe_of_search
from jdarts.reports.read import read_search
from jdarts.train_config import TrainConfig, for_images, load_recipe, recipe_names

__all__ = ["CompareCommand", "CompareOptions", "parse_compare"]


@dataclasses.dataclass(frozen=True)
class CompareOptions:
    """What is compared, and how often."""

    run_dir: Path | None = None
    """Folder of the comparison; not given: "compare" in the first search's folder. The
    same command on the same folder goes on where it ended."""
    recipe: str | None = None
    """How all networks are trained: a recipe's name, a .py file with get_config(), or
    the config.json of a training; not given: that of the searches' data set, or a
    general one sized by the first search."""
    retrainings: int = 3
    """Trainings of each network, with seeds 0, 1, ..., the same for all; >= 1."""
    random: int = 12
    """Random genotypes, divided evenly over the searches; >= 2. Nothing can be told
    from chance with fewer than 39 for one search, 12 for two, 9 for three, 8 for four.
    """
    match: str = "parameters"
    """In what a random genotype equals its search's: parameters or multiply_adds."""
    tolerance: float = 0.05
    """Relative difference up to which two sizes are equal, >= 0."""
    random_seed: int = 0
    """Of the random genotypes, and of permutations that are too many for all, >= 0."""
    progress: tuple[int, ...] = ()
    """Also train what the searches would have found after these epochs."""
    allow_unfinished: bool = False
    """Of a search that has not come to its end, take its last epoch's genotype."""

    def __post_init__(self) -> None:
        """Raises a UserError that names the field."""
        check_numbers(self)
        if self.retrainings < 1:
            raise UserError(f"--retrainings: {self.retrainings}; expected at least 1")
        if self.random < 2:
            raise UserError(f"--random: {self.random}; expected at least 2")
        if self.match not in MEASURES:
            raise unknown_choice("--match", self.match, MEASURES)
        if not 0 <= self.tolerance < float("inf"):
            raise UserError(f"--tolerance: {self.tolerance}; expected 0 or more")
        if self.random_seed < 0:
            raise UserError(f"--random-seed: {self.random_seed}; expected 0 or more")


class CompareCommand(NamedTuple):
    """A parsed command line.

    Attributes:
      searches: what is compared with chance.
      config: how each network is trained.
      options: the rest.
      run_dir: the folder of the comparison.
    """

    searches: list[Search]
    config: TrainConfig
    options: CompareOptions
    run_dir: Path


@dataclasses.dataclass(frozen=True)
class _Arguments:
    options: Annotated[CompareOptions, tyro.conf.arg(name="")]
    config: Annotated[TrainConfig, tyro.conf.arg(name="")]


def parse_compare(arguments: list[str]) -> CompareCommand:
    """``RUN [RUN ...] [--field value ...]``; the searches are read and checked.

    Raises:
      UserError: for a run that cannot be compared, an unknown recipe or field, or a
        wrong value.
      SystemExit: after ``--help``.
    """
    rest, runs = list(arguments), []
    while rest and not rest[0].startswith("-"):
        runs.append(Path(rest.pop(0)))
    if not runs and not {"--help", "-h"} & set(rest):
        raise UserError("command line: no search given; expected RUN [RUN ...]")
    searches = read_searches(runs, "--allow-unfinished" in rest)
    default = _Arguments(CompareOptions(), _recipe(searches, _value(rest, "--recipe")))
    _refuse(rest, default)
    with one_line_errors():
        parsed = tyro.cli(
            _Arguments,
            args=rest,
            default=default,
            prog="python -m jdarts.compare RUN [RUN ...]",
            description=_description(),
        )
    options, config = parsed.options, parsed.config
    seeds = tuple(range(options.retrainings))
    return CompareCommand(
        searches=searches,
        config=dataclasses.replace(config, seed=None, seeds=seeds),
        options=options,
        run_dir=options.run_dir or runs[0] / "compare",
    )


def _description() -> str:
    return (
        "Trains what the searches found, and random genotypes of the same size, all "
        "in the same way, and says whether the searches beat chance. RUN: the folder "
        "of a search, of one seed or several. Recipes: "
        f"{', '.join(recipe_names())}. Every field below that is not of the comparison "
        "overrides the recipe."
    )


def _refuse(arguments: list[str], default: _Arguments) -> None:
    """Raises a UserError for an option that is unknown, or decided otherwise."""
    for argument in arguments:
        flag = argument.split("=", 1)[0]
        if flag in ("--seed", "--seeds"):
            raise UserError(
                f"{flag}: has no effect on a comparison; expected --retrainings, whose "
                "seeds are 0, 1, ..., or --random-seed"
            )
        if flag == "--name":
            raise UserError("--name: has no effect on a comparison; expected --run-dir")
    kinds = option_types(default.options) | option_types(default.config)
    check_options(arguments, kinds)


def _value(arguments: list[str], flag: str) -> str | None:
    """The value of an option, which stays among the arguments."""
    for i, argument in enumerate(arguments):
        if argument.startswith(f"{flag}="):
            return argument.split("=", 1)[1]
        if argument == flag and i + 1 < len(arguments):
            return arguments[i + 1]
    return None


def _recipe(searches: list[Search], which: str | None) -> TrainConfig:
    """The recipe, on the images that were searched on."""
    if not searches:  # only help is wanted
        return TrainConfig()
    search = searches[0]
    config = read_search(search.path).config
    if which is None:
        return on_images_of(
            for_images(recipe_of_search(config), str(search.path)), search.data
        )
    general = which == GENERAL["images"]
    recipe = general_recipe(config) if general else load_recipe(which)
    return on_images_of(for_images(recipe, f"--recipe {which}"), search.data)
