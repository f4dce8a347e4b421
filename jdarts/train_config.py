"""The configuration of a training: the parts' own settings, composed."""

import dataclasses
from pathlib import Path
from typing import Any

from jdarts.config_fields import (
    RECIPE,
    check_cells,
    check_least,
    check_run,
    load_file,
    parse_fields,
    plain,
    renewed,
    settle_seeds,
    shipped,
)
from jdarts.data import DataConfig
from jdarts.errors import UserError, unknown_choice
from jdarts.io.run_folder import EXTENDED
from jdarts.nets.stems import STEMS
from jdarts.spaces import Genotype
from jdarts.text_train_config import TextTrainConfig
from jdarts.training import TrainOptimizer, TrainSettings

__all__ = [
    "RECIPES",
    "Recipe",
    "TrainConfig",
    "for_images",
    "load_recipe",
    "recipe_from_json",
    "recipe_names",
    "recipe_to_json",
    "task_of",
]

_SEED = 0
_PARTS = ("test", "valid", "auto")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Everything that a training depends on except the genotype."""

    name: str = "train"
    """Name of the run: its folder is NAME in the search's folder, or in runs/GENOTYPE,
    unless --run-dir says otherwise."""
    channels: int = 36
    """Width of the first cells; it doubles at every reduction. >= 1."""
    layers: int = 20
    """Number of cells, >= 1."""
    stem: str = "cifar"
    """What comes before the cells: cifar: one convolution; imagenet: three of stride 2.
    """
    auxiliary: bool = True
    """Whether the second reduction cell has its own classifier in training."""
    auxiliary_weight: float = 0.4
    """Of the auxiliary classifier's loss, >= 0."""
    drop_path: float = 0.2
    """Rate of drop path that is reached, linearly by epoch, after the last one; in
    [0, 1)."""
    label_smoothing: float = 0.0
    """Share of the target that all classes divide, in [0, 1)."""
    average_decay: float = 0.0
    """Evaluate an exponential moving average of the weights with this decay, in [0, 1);
    0: the weights themselves."""
    epochs: int = 600
    """Passes over the training images, >= 1."""
    batch_size: int = 96
    """Images in a batch, >= 1. The images that are left at the end of an epoch, and
    fill no batch, are left out."""
    seed: int | None = None
    """Every random choice of the run derives from it; 0 to 4294967295. Not given: 0,
    unless there are seeds."""
    seeds: tuple[int, ...] | None = None
    """Instead of a seed several (--seeds 0 1 2): trained at once by one compiled
    program, each as in a run of its own, with results in its own folder seed_N."""
    evaluate_on: str = "test"
    """test: train on all training images, evaluate on the test images; valid: train on
    a share of the training images drawn by the seed (--data.valid-fraction,
    --data.split), evaluate on the rest, or on the validation part where the data have
    one: to choose between genotypes without a look at the test images; auto: test
    where the data have test images, otherwise valid."""
    evaluate_every: int = 1
    """Evaluate after every this-many-th epoch, and at the end; >= 1."""
    remat: bool = False
    """Compute the inside of each cell again in backward passes: less memory, more time.
    """
    scan: bool = False
    """Run equal cells that follow each other as one loop: compiles in half the time,
    but a step then copies what it keeps for the backward pass."""
    compute_dtype: str = "default"
    """What the network computes in. default: the type of its weights, float32 (float64
    in JAX's x64 mode); bfloat16: half the memory and faster on TPUs and GPUs, while
    weights, statistics, losses and optimisers stay in that type."""
    steps: int | None = None
    """Stop after this many steps in all (for a trial); not given: after all epochs."""
    log_every: int = 10
    """Write the metrics of every this-many-th step, >= 1."""
    checkpoint_minutes: float = 10.0
    """Save a checkpoint at least this often (and after every epoch), > 0."""
    optimizer: TrainOptimizer = TrainOptimizer()
    """The optimiser of the weights."""
    data: DataConfig = DataConfig()
    """The images."""

    def __post_init__(self) -> None:
        """Checks each value.

        Raises:
          UserError: it names the field as on the command line.
        """
        check_run(self)
        check_cells(self)
        check_least("evaluate_every", self.evaluate_every, 1)
        settle_seeds(self, _SEED)
        self.optimizer.check_training("--optimizer", self.epochs)
        for field in ("drop_path", "label_smoothing", "average_decay"):
            value = getattr(self, field)
            if not 0 <= value < 1:
                flag = field.replace("_", "-")
                raise UserError(f"--{flag}: {value}; expected 0 or more, less than 1")
        for field, choices in (("stem", STEMS), ("evaluate_on", _PARTS)):
            if getattr(self, field) not in choices:
                flag = field.replace("_", "-")
                raise unknown_choice(f"--{flag}", getattr(self, field), choices)
        self._check_effect()

    def _check_effect(self) -> None:
        """Raises a UserError for an option that has no effect."""
        if not 0 <= self.auxiliary_weight < float("inf"):
            raise UserError(
                f"--auxiliary-weight: {self.auxiliary_weight}; expected 0 or more"
            )
        default = TrainConfig.auxiliary_weight
        if not self.auxiliary and self.auxiliary_weight != default:
            raise UserError(
                "--auxiliary-weight: has no effect without --auxiliary; expected both "
                "or none"
            )
        data = self.data
        given = {
            "valid-fraction": data.valid_fraction != DataConfig.valid_fraction,
            "split": data.split is not None and data.limit is None,
        }
        for flag, by_user in given.items():
            if by_user and self.evaluate_on == "test":
                raise UserError(
                    f"--data.{flag}: has no effect on a training with all training "
                    "images, evaluated on test images; expected it with --evaluate-on "
                    "valid"
                )

    def judged(self, has_test: bool) -> "TrainConfig":
        """The same with ``evaluate_on`` decided, where it is ``auto``.

        Args:
          has_test: whether the data have test images.

        Raises:
          UserError: for an option of the data that then has no effect.
        """
        if self.evaluate_on != "auto":
            return self
        part = "test" if has_test else "valid"
        return dataclasses.replace(self, evaluate_on=part)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds, be it one or several."""
        if self.seeds is not None:
            return self.seeds
        assert self.seed is not None  # settled
        return (self.seed,)

    def with_seed(self, seed: int) -> "TrainConfig":
        """The configuration of that seed alone."""
        return dataclasses.replace(self, seed=seed, seeds=None)

    @property
    def settings(self) -> TrainSettings:
        """What a step needs to know."""
        return TrainSettings(
            optimizer=self.optimizer,
            epochs=self.epochs,
            auxiliary_weight=self.auxiliary_weight,
            drop_path=self.drop_path,
            label_smoothing=self.label_smoothing,
            average_decay=self.average_decay,
        )


Recipe = TrainConfig | TextTrainConfig
"""The configuration of a training."""

RECIPES: dict[str, type[TrainConfig] | type[TextTrainConfig]] = {
    "images": TrainConfig,
    "text": TextTrainConfig,
}
"""What a cell is for to the configuration of its training."""


def recipe_names() -> dict[str, Path]:
    """The configurations of trainings that come with jdarts: name to file."""
    return {n: file for n, file in shipped().items() if n.startswith(RECIPE)}


def load_recipe(which: str) -> Recipe:
    """Reads the configuration of a training.

    Args:
      which: the name of one that comes with jdarts, a Python file that defines
        ``get_config()``, or the ``config.json`` of a training.

    Raises:
      UserError: if there is none, or it is not a configuration.
    """
    return load_file(which, recipe_names(), Recipe, recipe_to_json, recipe_from_json)


def recipe_to_json(config: Recipe, genotype: Genotype | None = None) -> dict[str, Any]:
    """Plain data for JSON, as a training's ``config.json``.

    Of ``"seed"`` and ``"seeds"`` only the one in use is there. The genotype, if given,
    is its ``"genotype"``. ``"task"`` is there unless it is ``"images"``.
    """
    data = plain(config)
    task = task_of(config)
    if task != "images":
        data = {"task": task, **data}
    del data["seeds" if config.seeds is None else "seed"]
    return data if genotype is None else {"genotype": genotype.to_json(), **data}


def recipe_from_json(data: Any, source: str = "configuration") -> Recipe:
    """Reads what `recipe_to_json` wrote; fields that are missing have their defaults.

    Args:
      data: the parsed JSON; a genotype in it is left alone.
      source: the file's name, for errors.

    Raises:
      UserError: for an unknown field, or a value of the wrong type.
    """
    if not isinstance(data, dict):
        raise UserError(f"{source}: not a configuration; expected a JSON object")
    other = ("genotype", "task", EXTENDED)
    rest = {n: value for n, value in data.items() if n not in other}
    task = data.get("task", "images")
    if task not in RECIPES:
        raise unknown_choice(f"{source}: task", str(task), RECIPES)
    if "genotype" in data and data.get("evaluate_on") == "auto":
        raise UserError(
            f"{source}: evaluate_on: found 'auto' in a training, where it is decided; "
            "expected 'test' or 'valid'"
        )
    return parse_fields(RECIPES[task], renewed(rest), source)


def task_of(config: Recipe) -> str:
    """What it trains on: a key of `RECIPES`."""
    return next(task for task, kind in RECIPES.items() if kind is type(config))


def for_images(config: Recipe, what: str) -> TrainConfig:
    """The same, or a UserError if it is of the training of a recurrent cell.

    Args:
      config: the configuration.
      what: where it is from, for the error.
    """
    if not isinstance(config, TrainConfig):
        raise UserError(
            f"{what}: trains recurrent cells on texts; expected a training on images"
        )
    return config
