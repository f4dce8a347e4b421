"""SNAS: mixing weights drawn from a concrete distribution; one level or two."""

import dataclasses

import jax

from jdarts.derive import MixingWeights, derive_every_edge, derive_genotype
from jdarts.errors import UserError
from jdarts.hypergradient import HypergradientConfig
from jdarts.methods.base import SearchBatches, SearchMethod, SearchState
from jdarts.methods.bilevel import BilevelConfig, build_bilevel
from jdarts.methods.optimizers import ArchOptimizer, check_value, linear_by_epoch
from jdarts.problem import Networks
from jdarts.relaxation import concrete
from jdarts.spaces import Genotype, SearchSpace
from jdarts.types import Metrics

__all__ = ["SnasConfig", "build", "derive"]


@dataclasses.dataclass(frozen=True)
class SnasConfig(BilevelConfig):
    """Xie, Zheng, Liu, Lin, 'SNAS', ICLR 2019; defaults as in the authors' code, its
    optimiser of alpha that of the distributed program."""

    hypergradient: HypergradientConfig = HypergradientConfig("first_order")
    """How the architecture's gradient is taken."""
    arch: ArchOptimizer = ArchOptimizer(clip=10.0)
    """The optimiser of the architecture."""
    bilevel: bool = False
    """True: the architecture learns from the validation half, as in DARTS. False: from
    the batch that the weights learn from, by the same loss (the published search)."""
    temperature: float = 1.0
    """Of the first epoch, > 0."""
    temperature_min: float = 0.03
    """Of the last epoch, in (0, temperature]; linear between."""


def derive(config: SnasConfig, space: SearchSpace, mix: MixingWeights) -> Genotype:
    """Every edge with its strongest primitive; where that is `none`, no connection."""
    return derive_genotype(space, mix, derive_every_edge)


def build(
    config: SnasConfig,
    space: SearchSpace,
    network: Networks,
    *,
    epochs: int,
    steps_per_epoch: int,
) -> SearchMethod:
    """SNAS on a supernet; arguments and errors as of `jdarts.methods.darts.build`.

    With one level both updates follow from one gradient.

    Raises:
      UserError: also for a virtual step with one level, where there is none.
    """
    first, last = config.temperature, config.temperature_min
    check_value("--method.temperature", first, first > 0, "more than 0")
    valid, expected = 0 < last <= first, "more than 0, at most the temperature"
    check_value("--method.temperature-min", last, valid, expected)
    name = config.hypergradient.name
    if not config.bilevel:
        if name != "first_order":
            raise UserError(
                f"--method.hypergradient.name: '{name}' and --method.no-bilevel do not "
                "go together; expected first_order, or --method.bilevel"
            )
        if config.simultaneous:
            raise UserError(
                "--method.simultaneous: has no effect with --method.no-bilevel, whose "
                "one step is that of both; expected one of the two"
            )
        config = dataclasses.replace(config, simultaneous=True)
    method = build_bilevel(
        config,
        space,
        network,
        relaxation := concrete(linear_by_epoch(first, last, epochs, steps_per_epoch)),
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        discretize=lambda arch: derive(config, space, relaxation.expected(arch)),
    )
    return method if config.bilevel else method._replace(step=_one_level(method))


def _one_level(method: SearchMethod):
    def step(
        key: jax.Array, state: SearchState, batches: SearchBatches
    ) -> tuple[SearchState, Metrics]:
        first = jax.tree.map(lambda x: x[0], batches.train)
        return method.step(key, state, batches._replace(valid=first))

    return step
