"""The two optimisers of a search: SGD on the weights, Adam on the architecture."""

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jdarts import tree
from jdarts.errors import UserError
from jdarts.lazy import LazyModule
from jdarts.ops.fence import fence
from jdarts.ops.pack import pack, unpack
from jdarts.types import PyTree

if TYPE_CHECKING:
    import optax
else:
    optax = LazyModule("optax")

__all__ = [
    "ArchOptimizer",
    "WeightOptimizer",
    "arch_transformation",
    "check_init_scale",
    "check_value",
    "clip_by_norm",
    "cosine_by_epoch",
    "decay_by_epoch",
    "descend",
    "learning_rate",
    "linear_by_epoch",
    "start_descent",
    "weight_transformation",
]


@dataclasses.dataclass(frozen=True)
class WeightOptimizer:
    """SGD with momentum on the weights (DARTS, appendix A.1.1 and its code)."""

    lr: float = 0.025
    """Learning rate of the first epoch, > 0."""
    lr_min: float | None = 0.001
    """Where the cosine ends, reached after the last epoch; in [0, lr]. None: it is
    always lr."""
    momentum: float = 0.9
    """In [0, 1)."""
    weight_decay: float = 3e-4
    """Added to the gradient (after clipping), >= 0."""
    clip: float = 5.0
    """Largest gradient norm over all weights, > 0."""
    nesterov: bool = False
    """Nesterov's momentum."""
    weight_decay_last: float | None = None
    """Weight decay of the last epoch, to which it goes in equal steps from epoch to
    epoch; >= 0. None: it is always weight_decay."""

    @property
    def lowest(self) -> float:
        """The learning rate after the last epoch."""
        return self.lr if self.lr_min is None else self.lr_min

    def check(self, where: str) -> None:
        """Raises a UserError for a value out of range; `where` is the field's name."""
        _check(where, "lr", self.lr, self.lr > 0, "more than 0")
        lowest = self.lowest
        _check(where, "lr_min", lowest, 0 <= lowest <= self.lr, "0 to lr")
        _check(where, "momentum", self.momentum, 0 <= self.momentum < 1, "0 to 1")
        _check(where, "weight_decay", self.weight_decay, self.weight_decay >= 0, ">= 0")
        _check(where, "clip", self.clip, self.clip > 0, "more than 0")
        last = self.weight_decay_last
        if last is not None:
            _check(where, "weight_decay_last", last, last >= 0, ">= 0")
            if last == self.weight_decay:
                raise UserError(
                    f"{where}.weight-decay-last: {last}, as {where}.weight-decay, has "
                    "no effect; expected another value"
                )
        if self.nesterov and self.momentum == 0:
            raise UserError(
                f"{where}.nesterov: has no effect with {where}.momentum 0; expected a "
                "momentum of more than 0"
            )


@dataclasses.dataclass(frozen=True)
class ArchOptimizer:
    """Adam on the architecture (DARTS, appendix A.1.1)."""

    lr: float = 3e-4
    """Learning rate, constant, > 0."""
    b1: float = 0.5
    """Decay of the first moment, in [0, 1)."""
    b2: float = 0.999
    """Decay of the second moment, in [0, 1)."""
    weight_decay: float = 1e-3
    """Added to the gradient before Adam sees it, >= 0."""
    clip: float | None = None
    """Largest gradient norm over alpha, and over beta, > 0; not given: any."""

    def check(self, where: str) -> None:
        """Raises a UserError for a value out of range; `where` is the field's name."""
        _check(where, "lr", self.lr, self.lr > 0, "more than 0")
        _check(where, "b1", self.b1, 0 <= self.b1 < 1, "0 to 1")
        _check(where, "b2", self.b2, 0 <= self.b2 < 1, "0 to 1")
        if self.clip is not None:
            _check(where, "clip", self.clip, self.clip > 0, "more than 0")
        _check(where, "weight_decay", self.weight_decay, self.weight_decay >= 0, ">= 0")


def check_value(flag: str, value: float, valid: bool, expected: str) -> None:
    """Raises a UserError, naming the flag, for a value that is not valid or finite."""
    if not (valid and math.isfinite(value)):
        raise UserError(f"{flag}: {value}; expected {expected}")


def check_init_scale(scale: float) -> None:
    """Raises a UserError unless it is a standard deviation for alpha at the start."""
    check_value("--method.init-scale", scale, scale >= 0, ">= 0")


def _check(where: str, name: str, value: float, valid: bool, expected: str) -> None:
    check_value(f"{where}.{name.replace('_', '-')}", value, valid, expected)


def cosine_by_epoch(
    config: WeightOptimizer, epochs: int, steps_per_epoch: int
) -> "optax.Schedule":
    """``lowest + (lr - lowest) (1 + cos(pi e / epochs)) / 2``, constant in an epoch e.

    Args:
      config: holds `lr` and `lowest`.
      epochs: length of the search, >= 1.
      steps_per_epoch: weight steps in one epoch, >= 1.
    """

    def schedule(step: ArrayLike) -> jax.Array:
        epoch = jnp.minimum(jnp.asarray(step) // steps_per_epoch, epochs)
        share = 0.5 * (1 + jnp.cos(math.pi * epoch / epochs))
        return config.lowest + (config.lr - config.lowest) * share

    return schedule


def learning_rate(
    config: WeightOptimizer,
    epochs: int,
    steps_per_epoch: int,
    factor: Callable[[Any], Any],
) -> Callable[[ArrayLike], jax.Array]:
    """`cosine_by_epoch` times ``factor(step)``, the problem's own `rate`."""
    by_epoch = cosine_by_epoch(config, epochs, steps_per_epoch)

    def schedule(step: ArrayLike) -> jax.Array:
        return by_epoch(step) * factor(step)

    return schedule


def linear_by_epoch(
    first: float, last: float, epochs: int, steps_per_epoch: int
) -> "optax.Schedule":
    """From `first` in the first epoch to `last` in the last one, constant in each.

    Args:
      first: the first value.
      last: the last value.
      epochs: length of the search, >= 1.
      steps_per_epoch: steps in one epoch, >= 1.
    """

    def schedule(step: ArrayLike) -> jax.Array:
        epoch = jnp.minimum(jnp.asarray(step) // steps_per_epoch, epochs - 1)
        return first + (last - first) * epoch / max(epochs - 1, 1)

    return schedule


def clip_by_norm(limit: float) -> "optax.GradientTransformation":
    """Scales the gradient by ``min(1, limit / (norm + 1e-6))``.

    As PyTorch does it; optax's own has no 1e-6, which shows in the seventh digit.
    """

    def update(
        updates: PyTree, state: Any, params: Any = None, **_: Any
    ) -> tuple[PyTree, Any]:
        # Fenced, as a learning rate (see `_fenced`).
        scale = fence(jnp.minimum(1.0, limit / (tree.norm(updates) + 1e-6)))
        return jax.tree.map(lambda u: scale * u, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def decay_by_epoch(
    config: WeightOptimizer,
    epochs: int,
    steps_per_epoch: int,
    where: str = "--method.weights",
) -> "optax.Schedule | None":
    """The weight decay of a step; None if it is always the same.

    Args:
      config: holds `weight_decay` and `weight_decay_last`.
      epochs: length of the search, >= 1.
      steps_per_epoch: steps in one epoch, >= 1.
      where: the settings on the command line.

    Raises:
      UserError: if it cannot change because there is one epoch.
    """
    last = config.weight_decay_last
    if last is None:
        return None
    if epochs == 1:
        raise UserError(
            f"{where}.weight-decay-last: has no effect with --epochs 1; "
            "expected more epochs"
        )
    return linear_by_epoch(config.weight_decay, last, epochs, steps_per_epoch)


def _add_scheduled_decay(schedule: "optax.Schedule") -> "optax.GradientTransformation":
    """Adds ``schedule(step) * params`` to the gradient."""

    def update(updates: PyTree, state: Any, params: Any = None) -> tuple[PyTree, Any]:
        decay = jnp.asarray(schedule(state.count))
        updates = jax.tree.map(
            lambda u, p: u + decay.astype(p.dtype) * p, updates, params
        )
        return updates, optax.ScaleByScheduleState(count=state.count + 1)

    def init(params: PyTree) -> Any:
        del params
        return optax.ScaleByScheduleState(count=jnp.zeros((), jnp.int32))

    return optax.GradientTransformation(init, update)


def weight_transformation(
    config: WeightOptimizer,
    schedule: "optax.Schedule",
    *,
    clip: bool,
    decay: "optax.Schedule | None" = None,
) -> "optax.GradientTransformation":
    """Clipping, weight decay, momentum, learning rate, in this order.

    Args:
      config: the settings.
      schedule: step to learning rate.
      clip: whether gradients are clipped. The optimiser's state has the same form
        either way, so that the virtual step can start from the real one's.
      decay: step to weight decay; None: that of the settings.
    """
    return optax.chain(
        clip_by_norm(config.clip) if clip else optax.identity(),
        optax.add_decayed_weights(config.weight_decay)
        if decay is None
        else _add_scheduled_decay(_fenced(decay)),
        optax.trace(decay=config.momentum, nesterov=config.nesterov),
        optax.scale_by_learning_rate(_fenced(schedule)),
    )


def _fenced(schedule: "optax.Schedule") -> "optax.Schedule":
    """The same; XLA:CPU would compute it again for each weight."""
    return lambda step: fence(jnp.asarray(schedule(step)))


def start_descent(tx: "optax.GradientTransformation", w: PyTree) -> PyTree:
    """The state of an optimiser for `descend`."""
    return tx.init(pack(w))


def descend(
    tx: "optax.GradientTransformation", gradient: PyTree, opt: PyTree, w: PyTree
) -> tuple[PyTree, PyTree]:
    """One step of an optimiser, on all weights as one vector.

    Args:
      tx: one that does the same to every weight.
      gradient: in the weights.
      opt: its state, from `start_descent` or another step.
      w: the weights.

    Returns:
      The weights and the state after the step.
    """
    vectors = pack(w)
    updates, opt = tx.update(pack(gradient), opt, vectors)
    moved: Any = optax.apply_updates(vectors, updates)
    return unpack(moved, w), opt


def arch_transformation(config: ArchOptimizer) -> "optax.GradientTransformation":
    """Clipping, weight decay added to the gradient, then Adam."""
    clip = [] if config.clip is None else [clip_by_norm(config.clip)]
    return optax.chain(
        *clip,
        optax.add_decayed_weights(config.weight_decay),
        optax.adam(config.lr, b1=config.b1, b2=config.b2, eps=1e-8),
    )
