"""GDAS: one op an edge, drawn by its probability."""

import dataclasses

from jdarts.derive import MixingWeights, derive_genotype, derive_pairs
from jdarts.hypergradient import HypergradientConfig
from jdarts.methods.base import SearchMethod
from jdarts.methods.bilevel import BilevelConfig, build_bilevel, single_op
from jdarts.methods.optimizers import (
    WeightOptimizer,
    check_init_scale,
    check_value,
    linear_by_epoch,
)
from jdarts.problem import Networks
from jdarts.relaxation import gumbel
from jdarts.spaces import Genotype, SearchSpace

__all__ = ["GdasConfig", "build", "derive"]


@dataclasses.dataclass(frozen=True)
class GdasConfig(BilevelConfig):
    """Dong, Yang, 'GDAS', CVPR 2019; defaults as in the authors' code."""

    hypergradient: HypergradientConfig = HypergradientConfig("first_order")
    """How the architecture's gradient is taken."""
    weights: WeightOptimizer = WeightOptimizer(weight_decay=5e-4, nesterov=True)
    """The optimiser of the weights."""
    tau: float = 10.0
    """Temperature of the first epoch, > 0."""
    tau_min: float = 0.1
    """Temperature of the last epoch, in (0, tau]; linear between."""
    init_scale: float = 1e-3
    """Standard deviation of alpha at the start, >= 0."""


def derive(config: GdasConfig, space: SearchSpace, mix: MixingWeights) -> Genotype:
    """A node's strongest pairs of edge and primitive; two may be of one edge."""
    return derive_genotype(space, mix, derive_pairs)


def build(
    config: GdasConfig,
    space: SearchSpace,
    network: Networks,
    *,
    epochs: int,
    steps_per_epoch: int,
) -> SearchMethod:
    """GDAS on a supernet; arguments and errors as of `jdarts.methods.darts.build`.

    Both steps compute one op an edge, each from its own draw. As in DARTS the
    architecture's step comes first (in the authors' code the weights'). An op that is
    not drawn gets no gradient of its own, as in their network for the space of DARTS;
    in that for NAS-Bench-201 it has the gradient of an output of ones.
    """
    check_init_scale(config.init_scale)
    check_value("--method.tau", config.tau, config.tau > 0, "more than 0")
    low = 0 < config.tau_min <= config.tau
    check_value("--method.tau-min", config.tau_min, low, "more than 0, at most tau")
    tau = linear_by_epoch(config.tau, config.tau_min, epochs, steps_per_epoch)
    relaxation = gumbel(tau, config.init_scale)
    return build_bilevel(
        config,
        space,
        network,
        relaxation,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        mixer=single_op,
        discretize=lambda arch: derive(config, space, relaxation.expected(arch)),
    )
