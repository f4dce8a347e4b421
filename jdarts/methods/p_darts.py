"""P-DARTS: deeper and deeper networks of fewer and fewer primitives."""

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jdarts.derive import MixingWeights, derive_genotype, derive_in_order
from jdarts.errors import UserError
from jdarts.hypergradient import HypergradientConfig
from jdarts.lazy import LazyModule
from jdarts.methods.base import SearchMethod
from jdarts.methods.bilevel import BilevelConfig, Length, build_bilevel
from jdarts.methods.optimizers import (
    ArchOptimizer,
    WeightOptimizer,
    check_init_scale,
    check_value,
)
from jdarts.methods.stages import Stages, drop_weakest
from jdarts.problem import Networks
from jdarts.relaxation import offered_softmax
from jdarts.spaces import Genotype, SearchSpace
from jdarts.types import Arch

if TYPE_CHECKING:
    import optax
else:
    optax = LazyModule("optax")

__all__ = ["PDartsConfig", "build", "derive", "skip_schedule", "stages"]


@dataclasses.dataclass(frozen=True)
class PDartsConfig(BilevelConfig):
    """Chen, Xie, Wu, Tian, 'P-DARTS', ICCV 2019; defaults as in the authors' code, the
    dropout as in the paper."""

    hypergradient: HypergradientConfig = HypergradientConfig("first_order")
    """How the architecture's gradient is taken."""
    weights: WeightOptimizer = WeightOptimizer(lr_min=0.0)
    """The optimiser of the weights; its schedule begins again in each stage."""
    arch: ArchOptimizer = ArchOptimizer(lr=6e-4, clip=5.0)
    """The optimiser of the architecture."""
    warmup: float = 0.4
    """Share of each stage's epochs, at its start, that train the weights alone; in
    [0, 1)."""
    added_layers: tuple[int, ...] = (0, 6, 12)
    """Cells that the network of each stage has more than --layers, >= 0: as many
    numbers as stages, which share the epochs in equal parts."""
    dropped: tuple[int, ...] = (3, 2)
    """Primitives that each edge loses after each stage but the last, >= 1."""
    skip_dropout: tuple[float, ...] = (0.0, 0.4, 0.7)
    """Dropout after identities (skip connections of stride 1) in each stage, at its
    start; in [0, 1)."""
    skip_decay: float = 0.2
    """How fast that dropout falls when alpha is trained: by the factor exp(-skip_decay)
    an epoch; >= 0."""
    init_scale: float = 1e-3
    """Standard deviation of alpha at the start of each stage, >= 0."""


def stages(config: PDartsConfig) -> Stages:
    """The stages.

    Raises:
      UserError: for a setting out of range, or one that has no effect.
    """
    _check(config)

    def narrow(space: SearchSpace, mix: Any, stage: int) -> SearchSpace:
        return drop_weakest(space, mix, config.dropped[stage])

    def skip_rate(
        stage: int, epochs: int, steps_per_epoch: int
    ) -> "optax.Schedule | None":
        rate = config.skip_dropout[stage]
        return skip_schedule(config, rate, epochs, steps_per_epoch) if rate else None

    check = functools.partial(_check_space, config)
    return Stages(config.added_layers, narrow, skip_rate, check)


def _check(config: PDartsConfig) -> None:
    """Raises a UserError for a wrong value."""
    count = len(config.added_layers)
    for field, expected in (
        ("added_layers", max(count, 1)),
        ("dropped", count - 1),
        ("skip_dropout", count),
    ):
        flag, values = f"--method.{field.replace('_', '-')}", getattr(config, field)
        if len(values) != expected:
            raise UserError(
                f"{flag}: {len(values)} numbers; expected {expected}, for the stages "
                f"of --method.added-layers ({count})"
            )
    for layers in config.added_layers:
        check_value("--method.added-layers", layers, layers >= 0, "each >= 0")
    for count in config.dropped:
        check_value("--method.dropped", count, count >= 1, "each >= 1")
    for rate in config.skip_dropout:
        valid = 0 <= rate < 1
        check_value("--method.skip-dropout", rate, valid, "each in 0 to less than 1")
    decay = config.skip_decay
    check_value("--method.skip-decay", decay, decay >= 0, ">= 0")
    if not any(config.skip_dropout) and decay != PDartsConfig.skip_decay:
        raise UserError(
            "--method.skip-decay: has no effect with --method.skip-dropout 0; expected "
            "a dropout of more than 0 in some stage"
        )
    check_init_scale(config.init_scale)


def _check_space(config: PDartsConfig, space: SearchSpace) -> None:
    """Raises a UserError unless every edge can lose so many primitives, and then has a
    choice: also without a skip connection that is one too many, and `none`."""
    for kind, spec in space.cells.items():
        capped = spec.max_skips is not None
        least = 2 + ("none" in spec.primitives and capped)
        fewest = min(map(sum, spec.offered))
        most = fewest - least
        if sum(config.dropped) > most:
            raise UserError(
                f"--method.dropped: {sum(config.dropped)} in all; expected at most "
                f"{most}: of the {fewest} primitives of an edge of the {kind} cell "
                f"of --space {space.name} {least} have to be left for the last stage"
            )
        if any(config.skip_dropout) and "skip_connect" not in spec.primitives:
            raise UserError(
                "--method.skip-dropout: has no effect in --space "
                f"{space.name}, whose {kind} cell has no skip_connect; expected 0 in "
                "each stage"
            )


def skip_schedule(
    config: PDartsConfig, rate: float, epochs: int, steps_per_epoch: int
) -> "optax.Schedule":
    """The dropout of a stage, constant in an epoch e.

    While the weights are trained alone (W epochs) ``rate (E - 1 - e) / E``, then
    ``rate exp(-skip_decay (e - W))``: it begins again there (the authors' code).

    Args:
      config: holds `warmup` and `skip_decay`.
      rate: at the start.
      epochs: E, of the stage, >= 1.
      steps_per_epoch: steps in one epoch, >= 1.
    """
    alone = config.warmup_epochs(epochs)

    def schedule(step: ArrayLike) -> jax.Array:
        epoch = jnp.asarray(step) // steps_per_epoch
        later = jnp.exp(-config.skip_decay * (epoch - alone))
        return rate * jnp.where(epoch < alone, (epochs - 1 - epoch) / epochs, later)

    return schedule


def derive(config: PDartsConfig, space: SearchSpace, mix: MixingWeights) -> Genotype:
    """As DARTS, connections in the order of their sources."""
    return derive_genotype(space, mix, derive_in_order)


def build(
    config: PDartsConfig,
    space: SearchSpace,
    network: Networks,
    **length: Unpack[Length],
) -> SearchMethod:
    """One stage: DARTS over the primitives that its space's edges have.

    Args:
      config: the settings.
      space: of the stage.
      network: its supernet.
      **length: ``epochs`` of the stage and ``steps_per_epoch``; see `build_bilevel`.

    Raises:
      UserError: for a setting out of range, or one that has no effect.
    """
    _check(config)
    relaxation = offered_softmax(space, config.init_scale)

    def discretize(arch: Arch) -> Genotype:
        mix = {k: np.asarray(m) for k, m in relaxation.weights(arch).items()}
        return derive(config, space, mix)

    return build_bilevel(
        config, space, network, relaxation, discretize=discretize, **length
    )
