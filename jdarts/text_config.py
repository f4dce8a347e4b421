"""The configuration of a search for recurrent cells."""

import dataclasses
from typing import Any

from jdarts.config_fields import check_least, check_run, check_space, settle_seeds
from jdarts.data import Lengths, TextConfig
from jdarts.errors import UserError
from jdarts.methods.darts import DartsConfig
from jdarts.methods.optimizers import ArchOptimizer, WeightOptimizer
from jdarts.nets.recurrent import Dropout

__all__ = ["TEXT_ARCH", "TEXT_WEIGHTS", "TextSearchConfig", "check_text"]

_SEED = 3

# As published for the Penn Treebank (DARTS, appendix A.1.2, and its code).
TEXT_WEIGHTS = WeightOptimizer(
    lr=20.0, lr_min=None, momentum=0.0, weight_decay=5e-7, clip=0.25
)
TEXT_ARCH = ArchOptimizer(lr=3e-3, b1=0.9, b2=0.999, weight_decay=1e-3)


@dataclasses.dataclass(frozen=True)
class TextSearchConfig:
    """Everything that a search for a recurrent cell depends on; defaults as published
    for the Penn Treebank."""

    name: str = "search"
    """Name of the run: its folder is runs/NAME unless --run-dir says otherwise. Not
    given, a run on another text than the configuration's is named after that."""
    space: str = "darts_rnn"
    """What is searched: a row of the SPACES table that is for text."""
    units: int = 300
    """Width of the embedding and of the states, >= 1."""
    length: int = 35
    """Time steps of back-propagation; the learning rate goes with it. >= 2."""
    halved: float = 0.05
    """Probability of a segment of half that length (at least 5), in [0, 1]."""
    epochs: int = 50
    """Passes over the training text, >= 1."""
    batch_size: int = 256
    """Columns that the training and the validation text are cut into, >= 2."""
    evaluation_batch: int = 10
    """Columns when the supernet is evaluated on the validation text, >= 1."""
    seed: int | None = None
    """Every random choice of the run derives from it; 0 to 4294967295. Not given: 3,
    unless there are seeds."""
    seeds: tuple[int, ...] | None = None
    """Instead of a seed several (--seeds 0 1 2): searched at once by one compiled
    program, each as in a run of its own, with results in its own folder seed_N."""
    dropout: Dropout = Dropout()
    """What is dropped; the masks are fixed within a step's hypergradient."""
    activation: float = 0.0
    """Penalty of large states in the weight step, >= 0."""
    slowness: float = 1e-3
    """Penalty of states that change from word to word in the weight step, >= 0."""
    steps: int | None = None
    """Stop after this many steps in all (for a trial); not given: after all epochs."""
    log_every: int = 10
    """Write the metrics of every this-many-th step, >= 1."""
    checkpoint_minutes: float = 10.0
    """Save a checkpoint at least this often (and after every epoch), > 0."""
    data: TextConfig = TextConfig()
    """The text."""
    method: object = DartsConfig(
        weights=TEXT_WEIGHTS, arch=TEXT_ARCH, clip_virtual=True
    )
    """How it is searched; --method NAME takes another row of the METHODS table."""

    def __post_init__(self) -> None:
        """Checks each value.

        Raises:
          UserError: it names the field as on the command line.
        """
        check_space(self.space, "text")
        check_text(self)
        settle_seeds(self, _SEED)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds, be it one or several."""
        if self.seeds is not None:
            return self.seeds
        assert self.seed is not None  # settled
        return (self.seed,)

    def with_seed(self, seed: int) -> "TextSearchConfig":
        """The configuration of that seed alone."""
        return dataclasses.replace(self, seed=seed, seeds=None)

    def with_method(self, method: Any) -> "TextSearchConfig":
        """The same search by another method, with the settings for texts."""
        own = {field.name for field in dataclasses.fields(method)}
        rule = getattr(method, "hypergradient", None)
        settings = {
            "weights": TEXT_WEIGHTS,
            "arch": TEXT_ARCH,
            "clip_virtual": rule is not None and rule.takes_virtual_steps,
        }
        method = dataclasses.replace(
            method, **{name: settings[name] for name in own & settings.keys()}
        )
        return dataclasses.replace(self, method=method)

    @property
    def lengths(self) -> Lengths:
        """How long segments are."""
        return Lengths(self.length, self.halved)

    @property
    def described(self) -> str:
        """What is searched, in words."""
        return f"{self.space}, {self.units} units, on {self.data.name}"


def check_text(config: Any) -> None:
    """Checks the fields that all configurations of language models have.

    Raises:
      UserError: it names the field as on the command line.
    """
    check_run(config)
    for field, least in (
        ("units", 1),
        ("length", 2),
        ("batch_size", 2),
        ("evaluation_batch", 1),
    ):
        check_least(field, getattr(config, field), least)
    config.dropout.check("--dropout")
    if not 0 <= config.halved <= 1:
        raise UserError(f"--halved: {config.halved}; expected 0 to 1")
    for field in ("activation", "slowness"):
        value = getattr(config, field)
        if not 0 <= value < float("inf"):
            raise UserError(f"--{field}: {value}; expected 0 or more")
