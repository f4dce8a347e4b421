"""ASAP: the softmax cools down, and ops of little weight are pruned."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jdarts.errors import UserError
from jdarts.hypergradient import HypergradientConfig
from jdarts.methods.base import SearchMethod
from jdarts.methods.bilevel import BilevelConfig, build_bilevel
from jdarts.methods.optimizers import check_init_scale, check_value
from jdarts.problem import Networks
from jdarts.relaxation import Held, Prune, Relaxation, pruned_softmax
from jdarts.spaces import SearchSpace
from jdarts.types import Arch

__all__ = ["AsapConfig", "build", "temperature_at"]

_EPOCHS = 50  # of the search that beta is stated for


@dataclasses.dataclass(frozen=True)
class AsapConfig(BilevelConfig):
    """Noy et al., 'ASAP', AISTATS 2020. The authors published no code: temperatures and
    threshold are a third party's (UniNAS), the optimisers those of DARTS."""

    hypergradient: HypergradientConfig = HypergradientConfig("first_order")
    """How the architecture's gradient is taken."""
    temperature: float = 1.6
    """Of the first epoch, > 0. Alpha is trained, and ops are pruned, below 1."""
    beta: float = 0.95
    """Times the temperature after each of 50 epochs, in (0, 1); a search of another
    length ends at the same temperature."""
    threshold: float = 0.4
    """An op is pruned below this share of 1 / (number of primitives), in [0, 1)."""
    init_scale: float = 1e-3
    """Standard deviation of alpha at the start, >= 0."""

    def warmup_epochs(self, epochs: int) -> int:
        """Epochs whose temperature is not below 1, of so many in all."""
        return sum(temperature_at(self, e, epochs) >= 1 for e in range(epochs))


def temperature_at(config: AsapConfig, epoch: Any, epochs: int) -> Any:
    """``T = T0 beta^epoch``, in a search of 50 epochs."""
    return config.temperature * config.beta ** (epoch * _EPOCHS / epochs)


def build(
    config: AsapConfig,
    space: SearchSpace,
    network: Networks,
    *,
    epochs: int,
    steps_per_epoch: int,
) -> SearchMethod:
    """ASAP on a supernet; arguments and errors as of `jdarts.methods.darts.build`.

    Before every epoch with ``T < 1`` and after the last one, the ops of an edge whose
    weight softmax(alpha / T) is below ``threshold / primitives`` are pruned. All steps
    are of one program, so that pruned ops cost what they did.

    Raises:
      UserError: also if the search is too short for a temperature below 1.
    """
    start, beta, threshold = config.temperature, config.beta, config.threshold
    check_init_scale(config.init_scale)
    check_value("--method.temperature", start, start > 0, "more than 0")
    check_value("--method.beta", beta, 0 < beta < 1, "more than 0, below 1")
    valid = 0 <= threshold < 1
    check_value("--method.threshold", threshold, valid, "at least 0, below 1")
    warm = config.warmup_epochs(epochs)
    _check_warmup(config, warm, epochs)

    relaxation = pruned_softmax(config.init_scale, start)
    return build_bilevel(
        config,
        space,
        network,
        relaxation,
        prune=pruning(config, relaxation, warm, epochs),
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
    )


def pruning(
    config: AsapConfig, relaxation: Relaxation, warm: int, epochs: int
) -> Prune:
    """After an epoch: the temperature of the next one, and what it prunes.

    Args:
      config: the settings.
      relaxation: a `pruned_softmax`.
      warm: epochs before the temperature is below 1.
      epochs: length of the search; after the last one its temperature stays.
    """

    def prune(arch: Arch, epoch: jax.Array) -> Held:
        held: Held = arch.held
        epoch = jnp.minimum(epoch, epochs - 1)
        now = temperature_at(config, epoch, epochs).astype(held.temperature.dtype)
        held, kept = held._replace(temperature=now), {}
        for kind, mix in relaxation.weights(arch._replace(held=held)).items():
            # The largest weight is never below the mean, so that every edge keeps one.
            strong = mix >= config.threshold / mix.shape[1]
            kept[kind] = held.kept[kind] & (strong | (epoch < warm))
        return held._replace(kept=kept)

    return prune


def _check_warmup(config: AsapConfig, warm: int, epochs: int) -> None:
    if config.warmup:
        raise UserError(
            f"--method.warmup: {config.warmup}, but alpha is trained as soon as the "
            "temperature is below 1; expected 0, or another --method.temperature"
        )
    if warm == epochs:
        last = temperature_at(config, epochs - 1, epochs)
        raise UserError(
            f"--method.temperature: {config.temperature} becomes {last:.4g} in "
            f"{epochs} epochs, and alpha is trained below 1; expected a lower one, or "
            "more --epochs"
        )
