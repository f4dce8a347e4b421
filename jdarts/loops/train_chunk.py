"""A chunk of training steps as one compiled loop over data that live on the device."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh

from jdarts.data import AugmentSpec, augment, batch_at, epoch_permutation, normalise
from jdarts.loops.chunk import default_dtype, repeat
from jdarts.sharding import shard_batch
from jdarts.training import Scores, Trainer, TrainState
from jdarts.types import Batch, Metrics

__all__ = ["TrainData", "make_train_chunk", "make_train_evaluation"]


class TrainData(NamedTuple):
    """The images, whole, on every device.

    Attributes:
      images: to train on, uint8 ``[N, height, width, channels]``.
      labels: int32 ``[N]``.
      train: int32, the indices of those that are trained on.
      held_images: to evaluate on, uint8 ``[M, height, width, channels]``.
      held_labels: int32 ``[M]``.
      held: int32, the indices of those that are evaluated on.
    """

    images: jax.Array
    labels: jax.Array
    train: jax.Array
    held_images: jax.Array
    held_labels: jax.Array
    held: jax.Array


def make_train_chunk(
    trainer: Trainer,
    spec: AugmentSpec,
    mesh: Mesh | None,
    *,
    batch_size: int,
    steps_per_epoch: int,
) -> Callable[..., tuple[TrainState, Metrics]]:
    """The function to compile.

    Every random choice derives from the run's key and the step's number, so results do
    not depend on how a run is cut into chunks.

    Args:
      trainer: the training.
      spec: augmentation.
      mesh: the devices that batches are divided over; None: batches stay whole.
      batch_size: images in a batch.
      steps_per_epoch: the chunk must not go past the end of an epoch.

    Returns:
      ``chunk(key, state, data, count) -> (state, metrics)``, see `chunk.repeat`.
    """
    train_step = jax.jit(trainer.step)  # traced once, for its shapes and for the loop

    def chunk(
        key: jax.Array, state: TrainState, data: TrainData, count: jax.Array
    ) -> tuple[TrainState, Metrics]:
        order_key, augment_key, step_key = jax.random.split(key, 3)
        epoch = state.step // steps_per_epoch
        permutation = epoch_permutation(order_key, epoch, data.train)

        def one(state: TrainState) -> tuple[TrainState, Metrics]:
            chosen = batch_at(permutation, state.step % steps_per_epoch, batch_size)
            images = augment(
                jax.random.fold_in(augment_key, state.step),
                data.images[chosen],
                spec,
                default_dtype(),
            )
            batch = shard_batch(Batch(images, data.labels[chosen]), mesh)
            return train_step(step_key, state, batch)

        return repeat(one, state, count)

    return chunk


def make_train_evaluation(
    trainer: Trainer,
    spec: AugmentSpec,
    mesh: Mesh | None,
    *,
    batch_size: int,
    classes: int,
) -> Callable[..., Scores]:
    """The network on the held-out images, in the order of their indices.

    Args:
      trainer: the training.
      spec: for normalisation; nothing is augmented.
      mesh: the devices that batches are divided over; None: batches stay whole.
      batch_size: images per batch.
      classes: number of classes.

    Returns:
      ``evaluation(state, data, start, count) -> Scores``: sums over `count` batches
      from batch `start` on; the last batch of all may be incomplete.
    """

    def one(
        state: TrainState, data: TrainData, number: jax.Array, sums: Scores
    ) -> Scores:
        total = data.held.shape[0]
        places = number * batch_size + jnp.arange(batch_size)
        indices = data.held[jnp.minimum(places, total - 1)]
        images = normalise(data.held_images[indices], spec, default_dtype())
        batch = shard_batch(Batch(images, data.held_labels[indices]), mesh)
        mask = (places < total).astype(images.dtype)
        return trainer.evaluate(state, batch, mask, sums)

    def evaluation(
        state: TrainState, data: TrainData, start: jax.Array, count: jax.Array
    ) -> Scores:
        def body(i: jax.Array, sums: Scores) -> Scores:
            return one(state, data, start + i, sums)

        return lax.fori_loop(0, count, body, Scores.zero(classes, default_dtype()))

    return evaluation
