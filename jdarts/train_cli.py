"""The command line of a training: what to train, by which recipe, where."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

from jdarts.cli import (
    EXTEND,
    list_tables,
    one_line_errors,
    without_overridden_seeds,
)
from jdarts.config import from_json
from jdarts.errors import UserError
from jdarts.io import genotype_place, load_genotype, read_json, split_choice
from jdarts.io.printed import is_printed
from jdarts.options import check_options, option_types
from jdarts.recipes import GENERAL, general_recipe, recipe_of_search
from jdarts.spaces import ZOO, Genotype
from jdarts.train_config import (
    Recipe,
    load_recipe,
    recipe_from_json,
    recipe_names,
    task_of,
)

__all__ = ["OWN", "TrainCommand", "parse_train"]

# For a genotype that comes without data.
_DEFAULTS = {"images": "train_digits", "text": "train_topics"}


OWN = {"--run-dir": Path, "--checkpoint": Path} | dict.fromkeys(
    (
        *("--allow-unfinished", "--no-allow-unfinished"),
        *("--data.eval-only", "--data.no-eval-only", *EXTEND),
    ),
    bool,
)
"""The options of a training that are no fields of its recipe, to their types."""


class TrainCommand(NamedTuple):
    """A parsed command line.

    Attributes:
      config: the resolved configuration.
      genotype: what to train.
      run_dir: the run folder.
      eval_only: whether to evaluate a checkpoint instead.
      checkpoints: the folder of the checkpoints to evaluate.
      extend: whether the run is there and may go on for more epochs.
    """

    config: Recipe
    genotype: Genotype
    run_dir: Path
    eval_only: bool
    checkpoints: Path
    extend: bool = False


@dataclasses.dataclass(frozen=True)
class _Arguments:
    config: Annotated[Any, tyro.conf.arg(name="")]
    run_dir: Path | None = None
    """Folder of the run; the same command on the same folder goes on where it ended."""
    allow_unfinished: bool = False
    """Of a search that has not come to its end, take its last epoch's genotype."""
    eval_only: Annotated[bool, tyro.conf.arg(name="data.eval-only")] = False
    """Train nothing: evaluate the run's newest checkpoint, or that of --checkpoint."""
    checkpoint: Path | None = None
    """Another run's folder, or its folder of checkpoints, to evaluate."""
    extend: bool = False
    """Go on with a run for more --epochs than it was planned for. What is done stays as
    it was, under the schedules of fewer epochs; the run's record says so."""


class _Given(NamedTuple):
    """What the first word names: the folder that runs go to, the recipe that goes with
    it, and the run folder if it is a training itself."""

    place: Path
    recipe: Recipe | None = None
    run_dir: Path | None = None


def parse_train(arguments: list[str]) -> TrainCommand:
    """``RUN_OR_GENOTYPE [RECIPE] [--run-dir DIR] [--field value ...]``.

    Raises:
      UserError: for an unknown genotype, recipe or field, or a wrong value.
      SystemExit: after ``--help``.
    """
    rest, words = list(arguments), []
    while rest and not rest[0].startswith("-") and len(words) < 2:
        words.append(rest.pop(0))
    asks_help = "--help" in rest or "-h" in rest
    if not words and not asks_help:
        raise UserError(
            "command line: nothing to train; expected the folder of a search, a "
            f"genotype, or a name of the zoo: {', '.join(sorted(ZOO))}"
        )
    named = words[1] if len(words) > 1 else None
    given = _given(words[0], named) if words else _Given(Path("runs"))
    recipe = given.recipe or (load_recipe(named) if named else None)
    genotype = None if asks_help else _genotype(words[0], "--allow-unfinished" in rest)
    shown = ZOO.get(words[0]) if asks_help and words else genotype
    task = shown.task if shown else "images"
    recipe = recipe or load_recipe(_DEFAULTS[task])
    if genotype and task_of(recipe) != task:
        kind = {"images": "convolutional", "text": "recurrent"}[task]
        raise UserError(
            f"{words[0]}: {kind} cells, but recipe '{recipe.name}' is for "
            f"{task_of(recipe)}; expected one of {', '.join(_recipes_for(task))}"
        )
    parsed = _parse(rest, recipe)
    assert genotype is not None  # --help does not come here
    if parsed.checkpoint is not None and not parsed.eval_only:
        raise UserError("--checkpoint: has no effect without --data.eval-only")
    if parsed.extend and parsed.eval_only:
        raise UserError("--extend: has no effect with --data.eval-only")
    run_dir = parsed.run_dir or given.run_dir or given.place / parsed.config.name
    return TrainCommand(
        config=parsed.config,
        genotype=genotype,
        run_dir=run_dir,
        eval_only=parsed.eval_only,
        checkpoints=_checkpoints(parsed.checkpoint or run_dir),
        extend=parsed.extend,
    )


def _parse(arguments: list[str], recipe: Recipe) -> _Arguments:
    check_options(arguments, option_types(recipe) | OWN)
    list_tables(arguments)
    recipe = without_overridden_seeds(arguments, recipe)
    with one_line_errors():
        return tyro.cli(
            _Arguments,
            args=arguments,
            default=_Arguments(recipe),
            prog="python -m jdarts.train RUN_OR_GENOTYPE [RECIPE]",
            description=_description(),
        )


def _description() -> str:
    return (
        "Trains a derived network from scratch. RUN_OR_GENOTYPE: the folder of a "
        "search (RUN@5: the genotype of epoch 5), a file with genotypes, as other "
        "programs print them too (FILE@NAME: one of several), 'Genotype(normal=...)' "
        "itself, the folder of a training to go on with, or a name of the zoo: "
        f"{', '.join(ZOO)}. RECIPE: {', '.join(recipe_names())}, a .py "
        "file with get_config(), or the config.json of a training; not given: that of "
        "the search's data set, or a general one sized by the search; of a genotype "
        f"without a search {' or '.join(_DEFAULTS.values())}. Every field below "
        "overrides it."
    )


def _given(what: str, named: str | None) -> _Given:
    """Looks at the first word.

    Args:
      what: the word.
      named: the recipe that is named, too.
    """
    place = genotype_place(what)
    if what in ZOO or is_printed(what):
        return _Given(place)
    path, epoch = split_choice(what)
    config = path / "config.json"
    if not config.is_file():
        return _Given(place)
    data = read_json(config)
    if not isinstance(data, dict):
        raise UserError(f"{config}: not a configuration; expected a JSON object")
    if "genotype" in data and not named and epoch is None:  # a training
        return _Given(path, recipe_from_json(data, str(config)), path)
    if named and named not in GENERAL.values() or "genotype" in data:
        return _Given(place)
    search = from_json(data, str(config))
    recipe = general_recipe(search) if named else recipe_of_search(search)
    if named and recipe.name != named:  # of another task
        return _Given(place)
    return _Given(place, recipe)


def _recipes_for(task: str) -> list[str]:
    return [n for n in recipe_names() if task_of(load_recipe(n)) == task]


def _genotype(what: str, allow_unfinished: bool) -> Genotype:
    if allow_unfinished and what in ZOO:
        raise UserError(f"--allow-unfinished: has no effect with '{what}' of the zoo")
    return load_genotype(what, allow_unfinished)


def _checkpoints(folder: Path) -> Path:
    inside = folder / "checkpoints"
    return inside if inside.is_dir() or folder.name != "checkpoints" else folder
