"""DrNAS: mixing weights drawn from Dirichlet distributions, on partial channels."""

import dataclasses
from typing import Unpack

from jdarts.derive import derive_genotype
from jdarts.hypergradient import HypergradientConfig
from jdarts.methods.base import SearchMethod
from jdarts.methods.bilevel import BilevelConfig, Length, build_bilevel
from jdarts.methods.optimizers import ArchOptimizer, WeightOptimizer, check_init_scale
from jdarts.nets.partial import PartialChannels
from jdarts.problem import Networks
from jdarts.relaxation import dirichlet, softmax
from jdarts.spaces import SearchSpace

__all__ = ["DrNasConfig", "build", "partial_channels"]


@dataclasses.dataclass(frozen=True)
class DrNasConfig(BilevelConfig):
    """Chen et al., 'DrNAS', ICLR 2021; defaults as in the authors' code for CIFAR-10,
    but in one stage: theirs has K = 6 in a first one, and 4 in a second one with fewer
    ops, which takes over weights, momenta and alphas and warms up anew."""

    hypergradient: HypergradientConfig = HypergradientConfig("first_order")
    """How the architecture's gradient is taken."""
    weights: WeightOptimizer = WeightOptimizer(lr=0.1, lr_min=0.0)
    """The optimiser of the weights."""
    arch: ArchOptimizer = ArchOptimizer(lr=6e-4)
    """The optimiser of the architecture."""
    warmup: float = 0.4
    """Share of the epochs, at the start, that train the weights alone; in [0, 1)."""
    k: int = 4
    """K: one K-th of the channels goes through the ops, which K has to divide; >= 1."""
    init_scale: float = 1e-3
    """Standard deviation of alpha at the start, >= 0."""


def partial_channels(config: DrNasConfig) -> PartialChannels:
    """Which channels go through the ops."""
    return PartialChannels(config.k)


def build(
    config: DrNasConfig, space: SearchSpace, network: Networks, **length: Unpack[Length]
) -> SearchMethod:
    """DrNAS on a supernet; arguments and errors as of `jdarts.methods.darts.build`."""
    check_init_scale(config.init_scale)
    return build_bilevel(
        config,
        space,
        network,
        dirichlet(config.init_scale),
        partial=partial_channels(config),
        # Ops have the order of the mean, edges not always: the authors' code has this.
        discretize=lambda arch: derive_genotype(space, softmax().weights(arch)),
        **length,
    )
