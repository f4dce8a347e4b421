"""The configuration of the training of a recurrent cell."""

import dataclasses

from jdarts.config_fields import check_least, settle_seeds
from jdarts.data import Lengths, TextConfig
from jdarts.errors import UserError
from jdarts.methods.optimizers import WeightOptimizer
from jdarts.nets.recurrent import Dropout
from jdarts.text_config import check_text

__all__ = ["TextTrainConfig"]

_SEED = 1267


@dataclasses.dataclass(frozen=True)
class TextTrainConfig:
    """All that the training of a recurrent cell depends on except the genotype;
    defaults as published for the Penn Treebank."""

    name: str = "train"
    """Name of the run: its folder is NAME in the search's folder, or in runs/GENOTYPE,
    unless --run-dir says otherwise."""
    units: int = 850
    """Width of the embedding and of the states, >= 1."""
    length: int = 35
    """Usual time steps of back-propagation; the learning rate goes with them. >= 2."""
    halved: float = 0.05
    """Probability of half that length (at least 5), in [0, 1]."""
    deviation: float = 5.0
    """Standard deviation of the lengths, >= 0."""
    epochs: int = 3600
    """Passes over the training text, >= 1 (the authors stop by hand, at most 8000)."""
    batch_size: int = 64
    """Columns that the training text is cut into, >= 2."""
    evaluation_batch: int = 10
    """Columns of the validation text after each epoch, >= 1."""
    test_batch: int = 1
    """Columns of the test text at the end, >= 1."""
    patience: int = 5
    """Average the weights from the epoch on whose validation loss is worse than the
    best of all but the last this many; >= 0."""
    seed: int | None = None
    """Every random choice of the run derives from it; 0 to 4294967295. Not given: 1267,
    unless there are seeds."""
    seeds: tuple[int, ...] | None = None
    """Instead of a seed several (--seeds 0 1 2): trained at once by one compiled
    program, each as in a run of its own, with results in its own folder seed_N."""
    dropout: Dropout = Dropout(word=0.1)
    """What is dropped."""
    activation: float = 0.0
    """Penalty of large states, >= 0."""
    slowness: float = 1e-3
    """Penalty of states that change from word to word, >= 0."""
    steps: int | None = None
    """Stop after this many steps in all (for a trial); not given: after all epochs."""
    log_every: int = 10
    """Write the metrics of every this-many-th step, >= 1."""
    checkpoint_minutes: float = 10.0
    """Save a checkpoint at least this often (and after every epoch), > 0."""
    optimizer: WeightOptimizer = WeightOptimizer(
        lr=20.0, lr_min=None, momentum=0.0, weight_decay=8e-7, clip=0.25
    )
    """The optimiser of the weights."""
    data: TextConfig = TextConfig()
    """The text."""

    def __post_init__(self) -> None:
        """Checks each value.

        Raises:
          UserError: it names the field as on the command line.
        """
        check_text(self)
        self.optimizer.check("--optimizer")
        check_least("test_batch", self.test_batch, 1)
        check_least("patience", self.patience, 0)
        if not 0 <= self.deviation <= self.length:
            raise UserError(
                f"--deviation: {self.deviation}; expected 0 to --length {self.length}"
            )
        settle_seeds(self, _SEED)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds, be it one or several."""
        if self.seeds is not None:
            return self.seeds
        assert self.seed is not None  # settled
        return (self.seed,)

    def with_seed(self, seed: int) -> "TextTrainConfig":
        """The configuration of that seed alone."""
        return dataclasses.replace(self, seed=seed, seeds=None)

    @property
    def lengths(self) -> Lengths:
        """How long segments are."""
        return Lengths(self.length, self.halved, self.deviation)
