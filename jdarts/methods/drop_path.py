"""Drop path in the search network: how its rate goes on."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jdarts.errors import UserError, unknown_choice
from jdarts.methods.optimizers import check_value, linear_by_epoch
from jdarts.nets.paths import DropRates

__all__ = ["DropPathConfig", "drop_rate", "drop_rates"]

_GROWTHS = ("linear", "constant")


@dataclasses.dataclass(frozen=True)
class DropPathConfig:
    """Drop path in the search network: each image loses whole edges at random."""

    rate: float = 0.0
    """Probability of an edge to be dropped, in the last epoch; in [0, 1). 0: none is.
    """
    growth: str = "linear"
    """linear: from 0 in the first epoch in equal steps to the rate in the last one;
    constant: always the rate."""

    def check(self, where: str, epochs: int) -> None:
        """Raises a UserError for a value out of range, or one without effect.

        Args:
          where: the field's name on the command line.
          epochs: of the search.
        """
        valid = 0 <= self.rate < 1
        check_value(f"{where}.rate", self.rate, valid, "0 or more, less than 1")
        if self.growth not in _GROWTHS:
            raise unknown_choice(f"{where}.growth", self.growth, _GROWTHS)
        if not self.rate and self.growth != DropPathConfig.growth:
            raise UserError(
                f"{where}.growth: has no effect with {where}.rate 0; expected a rate "
                "of more than 0"
            )
        if self.rate and self.growth == "linear" and epochs == 1:
            raise UserError(
                f"{where}.rate: has no effect with --epochs 1, whose rate is that of "
                f"the first epoch, 0; expected more epochs, or {where}.growth constant"
            )


def drop_rate(
    config: DropPathConfig, epochs: int, steps_per_epoch: int
) -> Callable[[jax.Array], Any] | None:
    """From the number of steps done to the rate; None without drop path.

    Linear as in Zela et al., 'Understanding and Robustifying DARTS', ICLR 2020, section
    5.1: ``rate e / (epochs - 1)`` in epoch e, from 0.

    Args:
      config: the settings.
      epochs: length of the search, >= 1.
      steps_per_epoch: steps in one epoch, >= 1.
    """
    if not config.rate:
        return None
    if config.growth == "constant":
        return lambda step: jnp.full((), config.rate)
    return linear_by_epoch(0.0, config.rate, epochs, steps_per_epoch)


def drop_rates(
    path: Callable[[Any], Any] | None, skip: Callable[[Any], Any] | None
) -> Callable[[jax.Array], DropRates] | None:
    """Both rates of a step, see `DropRates`; None if there is neither."""
    if path is None and skip is None:
        return None
    return lambda step: DropRates(path and path(step), skip and skip(step))
