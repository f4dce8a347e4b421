"""The optimiser of a training: SGD, and the published schedules of its learning rate.

All schedules are constant inside an epoch, as in the published programs.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jdarts.errors import UserError, unknown_choice
from jdarts.lazy import LazyModule
from jdarts.methods.optimizers import WeightOptimizer

if TYPE_CHECKING:
    import optax
else:
    optax = LazyModule("optax")

__all__ = ["SCHEDULES", "TrainOptimizer", "by_epoch"]

_TAIL = 5  # epochs in which the linear schedule goes down more slowly


@dataclasses.dataclass(frozen=True)
class TrainOptimizer(WeightOptimizer):
    """SGD with momentum (DARTS, appendices A.2 and A.3, and its code)."""

    lr_min: float = 0.0
    """Where the cosine ends, reached after the last epoch; in [0, lr]."""
    schedule: str = "cosine"
    """How the learning rate falls: cosine; exponential: by the factor `decay` in every
    epoch (DARTS on ImageNet); linear (PC-DARTS on ImageNet)."""
    decay: float = 0.97
    """Factor of the exponential schedule, in (0, 1]."""
    warmup_epochs: int = 0
    """Epochs in which the learning rate first rises to `lr` in equal steps, >= 0."""

    def check_training(self, where: str, epochs: int) -> None:
        """Raises a UserError for a value out of range, or one that has no effect.

        Args:
          where: the field's name on the command line.
          epochs: of the training.
        """
        self.check(where)
        if self.schedule not in SCHEDULES:
            raise unknown_choice(f"{where}.schedule", self.schedule, SCHEDULES)
        if not 0 < self.decay <= 1:
            raise UserError(f"{where}.decay: {self.decay}; expected 0 to 1")
        if not 0 <= self.warmup_epochs < epochs:
            raise UserError(
                f"{where}.warmup-epochs: {self.warmup_epochs}; expected 0 to "
                f"{epochs - 1}, less than --epochs"
            )
        if self.schedule == "linear" and epochs <= _TAIL:
            raise UserError(
                f"{where}.schedule: linear with {epochs} epochs; expected more than "
                f"{_TAIL}, or another schedule"
            )
        owners = {"lr_min": "cosine", "decay": "exponential"}
        for field, owner in owners.items():
            default = getattr(TrainOptimizer, field)
            if getattr(self, field) != default and self.schedule != owner:
                raise UserError(
                    f"{where}.{field.replace('_', '-')}: has no effect with schedule "
                    f"'{self.schedule}'; expected schedule {owner}"
                )


def _cosine(config: TrainOptimizer, epochs: int, e: jax.Array) -> jax.Array:
    """``lr_min + (lr - lr_min) (1 + cos(pi e / E)) / 2``."""
    share = 0.5 * (1 + jnp.cos(math.pi * e / epochs))
    return config.lr_min + (config.lr - config.lr_min) * share


def _exponential(config: TrainOptimizer, epochs: int, e: jax.Array) -> jax.Array:
    """``lr decay^e``."""
    return config.lr * config.decay**e


def _linear(config: TrainOptimizer, epochs: int, e: jax.Array) -> jax.Array:
    """``lr (E - 5 - e) / (E - 5)``, and ``lr (E - e) / (5 (E - 5))`` at the end."""
    main = epochs - _TAIL
    return config.lr / main * jnp.where(e < main, main - e, (epochs - e) / _TAIL)


SCHEDULES: dict[str, Callable[[TrainOptimizer, int, jax.Array], jax.Array]] = {
    "cosine": _cosine,
    "exponential": _exponential,
    "linear": _linear,
}
"""Name to ``rate(config, epochs, epoch)``; epochs count from 0."""


def by_epoch(
    config: TrainOptimizer, epochs: int, steps_per_epoch: int
) -> "optax.Schedule":
    """From the step to the learning rate.

    Args:
      config: the settings.
      epochs: length of the training, >= 1.
      steps_per_epoch: >= 1.
    """
    rate = SCHEDULES[config.schedule]

    def schedule(step: ArrayLike) -> jax.Array:
        epoch = jnp.minimum(jnp.asarray(step) // steps_per_epoch, epochs)
        value = rate(config, epochs, epoch)
        if not config.warmup_epochs:
            return value
        rising = config.lr * (epoch + 1) / config.warmup_epochs
        return jnp.where(epoch < config.warmup_epochs, rising, value)

    return schedule
