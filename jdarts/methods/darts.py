"""DARTS: continuous relaxation by softmax, alternating bilevel steps."""

import dataclasses
from typing import Unpack

from jdarts.methods.base import SearchMethod
from jdarts.methods.bilevel import BilevelConfig, Length, build_bilevel
from jdarts.methods.optimizers import check_init_scale
from jdarts.problem import Networks
from jdarts.relaxation import offered_softmax
from jdarts.spaces import SearchSpace

__all__ = ["DartsConfig", "build"]


@dataclasses.dataclass(frozen=True)
class DartsConfig(BilevelConfig):
    """Liu, Simonyan, Yang, 'DARTS', ICLR 2019; defaults as published for CIFAR-10."""

    init_scale: float = 1e-3
    """Standard deviation of alpha at the start, >= 0."""


def build(
    config: DartsConfig, space: SearchSpace, network: Networks, **length: Unpack[Length]
) -> SearchMethod:
    """DARTS on a supernet.

    Args:
      config: the settings.
      space: the search space.
      network: its supernet.
      **length: ``epochs`` and ``steps_per_epoch``; see `build_bilevel`.

    Raises:
      UserError: for a setting out of range, or one that has no effect.
    """
    check_init_scale(config.init_scale)
    relaxation = offered_softmax(space, config.init_scale)
    return build_bilevel(config, space, network, relaxation, **length)
