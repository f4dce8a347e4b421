"""One step of a training, as pure functions of its state."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jdarts import tree
from jdarts.lazy import LazyModule
from jdarts.methods.optimizers import (
    decay_by_epoch,
    descend,
    start_descent,
    weight_transformation,
)
from jdarts.nets.fixed import DropPath, FixedNetwork, Outputs
from jdarts.ops.pack import pack
from jdarts.training.optimizer import TrainOptimizer, by_epoch
from jdarts.types import Batch, Metrics, PyTree

if TYPE_CHECKING:
    import optax
else:
    optax = LazyModule("optax")

__all__ = [
    "Scores",
    "TrainSettings",
    "TrainState",
    "Trainer",
    "make_trainer",
    "smoothed_cross_entropy",
]

_TOP = 5
_MOST_CLASSES = 1024  # the square of more does not fit every device


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """What a step does beside running the network.

    Attributes:
      optimizer: the optimiser of the weights.
      epochs: length of the training, >= 1.
      auxiliary_weight: of the auxiliary head's loss.
      drop_path: the rate that drop path reaches after the last epoch, in [0, 1).
      label_smoothing: share of the target that all classes divide, in [0, 1).
      average_decay: of the averaged weights that are evaluated; 0: the last ones are.
    """

    optimizer: TrainOptimizer
    epochs: int
    auxiliary_weight: float = 0.4
    drop_path: float = 0.0
    label_smoothing: float = 0.0
    average_decay: float = 0.0


class TrainState(NamedTuple):
    """What the next step needs, and nothing else.

    Attributes:
      step: number of steps done, int32.
      w: the weights.
      model_state: the running statistics.
      opt: the optimiser's state, of the packed weights.
      average: the averaged weights and statistics ``(w, model_state)``; () without.
    """

    step: jax.Array
    w: PyTree
    model_state: PyTree
    opt: PyTree
    average: PyTree


class Scores(NamedTuple):
    """Sums over a batch, to be added up over batches.

    Attributes:
      loss: summed cross-entropy without smoothing, in nats.
      correct: images whose class got the highest logit.
      correct5: images whose class is among the five highest.
      count: number of images.
      confusion: images of each class (rows) that were taken for each class (columns),
        ``[classes, classes]``; its diagonal sums up to `correct`. Of more than 1,024
        classes ``[classes, 2]``: images taken for another class, and for their own.
    """

    loss: jax.Array
    correct: jax.Array
    correct5: jax.Array
    count: jax.Array
    confusion: jax.Array

    @classmethod
    def zero(cls, classes: int, dtype: DTypeLike) -> "Scores":
        """Of no images."""
        zero = jnp.zeros((), dtype)
        columns = classes if classes <= _MOST_CLASSES else 2
        return cls(zero, zero, zero, zero, jnp.zeros((classes, columns), dtype))


class Trainer(NamedTuple):
    """A training as three functions.

    Attributes:
      init: ``init(key, images) -> TrainState``; only the shape and dtype of `images`
        matter.
      step: ``step(key, state, batch) -> (state, metrics)``. The key is the run's: what
        is random derives from it and from ``state.step``. Metrics are scalars, from
        before the step: `train_loss` (of the main classifier, with smoothing),
        `auxiliary_loss` if there is that head, `train_accuracy`, `gradient_norm`
        before clipping, `lr`.
      evaluate: ``evaluate(state, batch, mask, sums) -> Scores`` with running
        statistics, over the images where `mask` is 1, added to the sums of the batches
        before.
    """

    init: Callable[[jax.Array, jax.Array], TrainState]
    step: Callable[[jax.Array, TrainState, Batch], tuple[TrainState, Metrics]]
    evaluate: Callable[[TrainState, Batch, jax.Array, Scores], Scores]


def smoothed_cross_entropy(
    logits: Float[Array, "batch class"], labels: Int[Array, " batch"], smoothing: float
) -> Float[Array, " batch"]:
    """Against ``1 - s + s / K`` for the label and ``s / K`` for the other classes.

    Szegedy et al., CVPR 2016, section 7.

    Args:
      logits: of K classes.
      labels: the classes.
      smoothing: s, in [0, 1).
    """
    hard = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    if not smoothing:
        return hard
    uniform = -jax.nn.log_softmax(logits).mean(axis=-1)
    return (1 - smoothing) * hard + smoothing * uniform


def make_trainer(
    network: FixedNetwork, settings: TrainSettings, steps_per_epoch: int
) -> Trainer:
    """The training of a network.

    The published one: the loss of the main classifier plus ``auxiliary_weight`` times
    that of the auxiliary one; drop path whose rate rises linearly from epoch to epoch.

    Args:
      network: what is trained.
      settings: how.
      steps_per_epoch: >= 1.
    """
    schedule = by_epoch(settings.optimizer, settings.epochs, steps_per_epoch)
    decay = decay_by_epoch(
        settings.optimizer, settings.epochs, steps_per_epoch, "--optimizer"
    )
    tx = weight_transformation(settings.optimizer, schedule, clip=True, decay=decay)
    smoothing = settings.label_smoothing

    def init(key: jax.Array, images: jax.Array) -> TrainState:
        w, model_state = network.init(key, images)
        average = (w, model_state) if settings.average_decay else ()
        if average:  # copies: the state is donated, each array once
            average = jax.tree.map(jnp.copy, average)
        opt = start_descent(tx, w)
        return TrainState(jnp.zeros((), jnp.int32), w, model_state, opt, average)

    def drop_path(key: jax.Array, step: jax.Array) -> DropPath | None:
        if not settings.drop_path:
            return None
        epoch = step // steps_per_epoch
        return DropPath(
            jax.random.fold_in(key, step), settings.drop_path * epoch / settings.epochs
        )

    def loss(
        w: PyTree,
        model_state: PyTree,
        batch: Batch,
        dropped: DropPath | None,
        key: jax.Array,
    ) -> tuple[jax.Array, tuple[Outputs, PyTree, Metrics]]:
        outputs, model_state = network.apply(
            w, model_state, batch.images, True, dropped, key
        )
        main = smoothed_cross_entropy(outputs.logits, batch.labels, smoothing).mean()
        losses = {"train_loss": main}
        if outputs.auxiliary is not None:
            other = smoothed_cross_entropy(outputs.auxiliary, batch.labels, smoothing)
            losses["auxiliary_loss"] = other.mean()
            main = main + settings.auxiliary_weight * losses["auxiliary_loss"]
        return main, (outputs, model_state, losses)

    def step(
        key: jax.Array, state: TrainState, batch: Batch
    ) -> tuple[TrainState, Metrics]:
        dropped = drop_path(key, state.step)
        own_key = jax.random.fold_in(key, state.step)
        (_, (outputs, model_state, metrics)), gradient = jax.value_and_grad(
            loss, has_aux=True
        )(state.w, state.model_state, batch, dropped, own_key)
        w, opt = descend(tx, gradient, state.opt, state.w)
        correct = jnp.argmax(outputs.logits, axis=-1) == batch.labels
        metrics |= {
            "train_accuracy": correct.mean(dtype=metrics["train_loss"].dtype),
            "gradient_norm": tree.norm(pack(gradient)),
            "lr": schedule(state.step),
        }
        average = state.average
        if settings.average_decay:
            average = _averaged(
                average, (w, model_state), settings.average_decay, state.step
            )
        return TrainState(state.step + 1, w, model_state, opt, average), metrics

    def evaluate(
        state: TrainState, batch: Batch, mask: jax.Array, sums: Scores
    ) -> Scores:
        w, model_state = state.average or (state.w, state.model_state)
        outputs, _ = network.apply(w, model_state, batch.images, False)
        logits = outputs.logits
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
        own = jnp.take_along_axis(logits, batch.labels[:, None], axis=-1)
        # Ties, and NaN, count against the network.
        above = (~(logits < own)).sum(axis=-1) - 1
        first, five = above < 1, above < _TOP
        others = jnp.arange(logits.shape[-1]) != batch.labels[:, None]
        wrong = jnp.where(others, logits, -jnp.inf).argmax(axis=-1)
        taken = jnp.where(first, batch.labels, wrong)
        if logits.shape[-1] > _MOST_CLASSES:
            taken = first.astype(int)
        return Scores(
            sums.loss + (losses * mask).sum(),
            sums.correct + (first * mask).sum(),
            sums.correct5 + (five * mask).sum(),
            sums.count + mask.sum(),
            sums.confusion.at[batch.labels, taken].add(mask),
        )

    return Trainer(init, step, evaluate)


def _averaged(average: PyTree, new: PyTree, decay: float, step: jax.Array) -> PyTree:
    """``d average + (1 - d) new``, with ``d = min(decay, (1 + n) / (10 + n))``.

    At step n (from 0) of a training the average so forgets its start quickly.
    """
    d = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(
        lambda a, b: a + ((1 - d) * (b - a)).astype(a.dtype), average, new
    )
