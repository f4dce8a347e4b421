"""Fair DARTS: ops do not compete, and are pushed to 0 or 1."""

import dataclasses
from typing import Unpack

import jax
import jax.numpy as jnp

from jdarts.derive import MixingWeights, derive_above, derive_genotype
from jdarts.errors import UserError
from jdarts.hypergradient import HypergradientConfig
from jdarts.methods.base import SearchMethod
from jdarts.methods.bilevel import BilevelConfig, Length, build_bilevel
from jdarts.methods.optimizers import ArchOptimizer, WeightOptimizer, check_value
from jdarts.problem import Networks
from jdarts.relaxation import sigmoid
from jdarts.spaces import Genotype, SearchSpace
from jdarts.types import Arch

__all__ = ["FairDartsConfig", "build", "derive"]


@dataclasses.dataclass(frozen=True)
class FairDartsConfig(BilevelConfig):
    """Chu, Zhou, Zhang, Li, 'Fair DARTS', ECCV 2020; the authors' code's defaults."""

    hypergradient: HypergradientConfig = HypergradientConfig("first_order")
    """How the architecture's gradient is taken."""
    weights: WeightOptimizer = WeightOptimizer(lr=0.005)
    """The optimiser of the weights."""
    arch: ArchOptimizer = ArchOptimizer(lr=3e-3, b1=0.9)
    """The optimiser of the architecture."""
    zero_one: float = 10.0
    """Times the loss that pushes mixing weights to 0 or 1, >= 0."""
    threshold: float = 0.85
    """Mixing weight that a connection of the genotype needs, in (0, 1)."""


def derive(config: FairDartsConfig, space: SearchSpace, mix: MixingWeights) -> Genotype:
    """As DARTS, then only the connections that reach the threshold."""
    return derive_genotype(space, mix, derive_above(config.threshold))


def build(
    config: FairDartsConfig,
    space: SearchSpace,
    network: Networks,
    **length: Unpack[Length],
) -> SearchMethod:
    """Fair DARTS on a supernet; arguments, errors: as of `jdarts.methods.darts.build`.

    The architecture's loss gets ``- zero_one mean (weight - 0.5)^2`` (equation 5).
    """
    check_value("--method.zero-one", config.zero_one, config.zero_one >= 0, ">= 0")
    valid = 0 < config.threshold < 1
    check_value("--method.threshold", config.threshold, valid, "more than 0, below 1")
    usual = FairDartsConfig().threshold
    if config.threshold != usual and all(
        spec.keep is None or spec.merge == "mean" for spec in space.cells.values()
    ):
        raise UserError(
            f"--method.threshold: {config.threshold} has no effect in --space "
            f"{space.name}, where every edge or node is kept; expected {usual}, or "
            "another space"
        )
    relaxation = sigmoid()

    def penalty(arch: Arch) -> jax.Array:
        weights = jnp.concatenate(
            [mix.ravel() for mix in relaxation.weights(arch).values()]
        )
        return -config.zero_one * jnp.square(weights - 0.5).mean()

    return build_bilevel(
        config,
        space,
        network,
        relaxation,
        penalty=penalty if config.zero_one else None,
        discretize=lambda arch: derive(config, space, relaxation.weights(arch)),
        **length,
    )
