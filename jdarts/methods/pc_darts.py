"""PC-DARTS: partial channels and edge normalisation."""

import dataclasses
from typing import Unpack

from jdarts.errors import UserError
from jdarts.hypergradient import HypergradientConfig
from jdarts.methods.base import SearchMethod
from jdarts.methods.bilevel import BilevelConfig, Length, build_bilevel
from jdarts.methods.optimizers import ArchOptimizer, WeightOptimizer, check_init_scale
from jdarts.nets.partial import PartialChannels
from jdarts.problem import Networks
from jdarts.relaxation import edge_softmax
from jdarts.spaces import SearchSpace

__all__ = ["PcDartsConfig", "build", "partial_channels"]


@dataclasses.dataclass(frozen=True)
class PcDartsConfig(BilevelConfig):
    """Xu et al., 'PC-DARTS', ICLR 2020; defaults as published for CIFAR-10 (for batches
    of 256 images)."""

    hypergradient: HypergradientConfig = HypergradientConfig("first_order")
    """How the architecture's gradient is taken."""
    weights: WeightOptimizer = WeightOptimizer(lr=0.1, lr_min=0.0)
    """The optimiser of the weights."""
    arch: ArchOptimizer = ArchOptimizer(lr=6e-4)
    """The optimiser of alpha, and another one of beta."""
    warmup: float = 0.3
    """Share of the epochs, at the start, that train the weights alone; in [0, 1)."""
    k: int = 4
    """K: one K-th of the channels goes through the ops, which K has to divide; >= 1."""
    sample: bool = False
    """False: the first channels, and a shuffle (the authors' code). True: in each cell
    and step a random sample (the paper's equation 1 has one for each edge)."""
    init_scale: float = 1e-3
    """Standard deviation of alpha and beta at the start, >= 0."""


def partial_channels(config: PcDartsConfig) -> PartialChannels:
    """Which channels go through the ops."""
    return PartialChannels(config.k, config.sample)


def build(
    config: PcDartsConfig,
    space: SearchSpace,
    network: Networks,
    **length: Unpack[Length],
) -> SearchMethod:
    """PC-DARTS on a supernet; arguments and errors as of `jdarts.methods.darts.build`.

    The genotype follows from alpha times beta: the mixing weights.
    """
    check_init_scale(config.init_scale)
    if config.sample and config.k == 1:
        raise UserError(
            "--method.sample: has no effect with --method.k 1; expected K of 2 or more"
        )
    return build_bilevel(
        config,
        space,
        network,
        edge_softmax(space, config.init_scale),
        partial=partial_channels(config),
        **length,
    )
