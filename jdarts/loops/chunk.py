"""A chunk of search steps as one compiled loop over data that live on the device.

Nothing leaves the device inside a chunk: batches are drawn, augmented and used there,
and each step's metrics go into a buffer that the host reads once.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh

from jdarts.data import (
    AugmentSpec,
    augment,
    batch_at,
    epoch_permutation,
    normalise,
    random_batch,
)
from jdarts.methods import SearchBatches, SearchMethod, SearchState
from jdarts.problem import Evaluation
from jdarts.sharding import shard_batch
from jdarts.types import Batch, Metrics, PyTree

__all__ = [
    "MAX_STEPS",
    "DeviceData",
    "default_dtype",
    "make_chunk",
    "make_evaluation",
    "repeat",
]

MAX_STEPS = 256
"""The largest number of steps in one chunk: the length of the metrics' buffer."""


class DeviceData(NamedTuple):
    """The training images, whole, on every device.

    Attributes:
      images: uint8 ``[N, height, width, channels]``.
      labels: int32 ``[N]``.
      train: int32, the indices of the images that train the weights.
      valid: int32, the indices of those that train the architecture.
    """

    images: jax.Array
    labels: jax.Array
    train: jax.Array
    valid: jax.Array


def make_chunk(
    method: SearchMethod,
    spec: AugmentSpec,
    mesh: Mesh | None,
    *,
    batch_size: int,
    steps_per_epoch: int,
) -> Callable[..., tuple[SearchState, Metrics]]:
    """The function to compile.

    Every random choice derives from the run's key and the step's number, so results do
    not depend on how a run is cut into chunks.

    Args:
      method: the search method.
      spec: augmentation of both halves.
      mesh: the devices that batches are divided over; None: batches stay whole.
      batch_size: of training and of validation batches.
      steps_per_epoch: the chunk must not go past the end of an epoch.

    Returns:
      ``chunk(key, state, data, count) -> (state, metrics)``: does `count` steps (int32,
      1 to MAX_STEPS, not known at compile time); metrics are ``[MAX_STEPS]``, of which
      the first `count` hold.
    """

    search_step = jax.jit(method.step)  # traced once, for its shapes and for the loop

    def batches(
        key: jax.Array, step: jax.Array, permutation: jax.Array, data: DeviceData
    ) -> SearchBatches:
        train_key, valid_key, draw_key = jax.random.split(key, 3)
        ahead = (step + jnp.arange(method.train_batches)) % steps_per_epoch
        train = jax.vmap(lambda i: batch_at(permutation, i, batch_size))(ahead)
        images = augment(
            jax.random.fold_in(train_key, step),
            data.images[train.reshape(-1)],
            spec,
            default_dtype(),
        )
        images = images.reshape(*train.shape, *images.shape[1:])
        valid = random_batch(draw_key, step, data.valid, batch_size)
        valid_images = augment(
            jax.random.fold_in(valid_key, step),
            data.images[valid],
            spec,
            default_dtype(),
        )
        return SearchBatches(
            train=shard_batch(Batch(images, data.labels[train]), mesh, axis=1),
            valid=shard_batch(Batch(valid_images, data.labels[valid]), mesh),
        )

    def chunk(
        key: jax.Array, state: SearchState, data: DeviceData, count: jax.Array
    ) -> tuple[SearchState, Metrics]:
        order_key, batch_key, step_key = jax.random.split(key, 3)
        epoch = state.step // steps_per_epoch
        permutation = epoch_permutation(order_key, epoch, data.train)

        def one(state: SearchState) -> tuple[SearchState, Metrics]:
            found = batches(batch_key, state.step, permutation, data)
            return search_step(step_key, state, found)

        return repeat(one, state, count)

    return chunk


def repeat(
    one: Callable[[PyTree], tuple[PyTree, Metrics]], state: PyTree, count: jax.Array
) -> tuple[PyTree, Metrics]:
    """Does a step `count` times, and keeps the metrics of each.

    Args:
      one: ``one(state) -> (state, metrics)``.
      state: the first state.
      count: 1 to MAX_STEPS, not known at compile time.

    Returns:
      The last state, and metrics ``[MAX_STEPS]``, of which the first `count` hold.
    """

    def body(i: jax.Array, carry: tuple[PyTree, Metrics]) -> tuple[PyTree, Metrics]:
        state, metrics = one(carry[0])
        log = {name: carry[1][name].at[i].set(metrics[name]) for name in metrics}
        return state, log

    _, metrics = jax.eval_shape(one, state)
    log = {n: jnp.zeros((MAX_STEPS, *m.shape), m.dtype) for n, m in metrics.items()}
    # A loop of unknown length: one compilation serves chunks of every size.
    return lax.fori_loop(0, count, body, (state, log))


def make_evaluation(
    method: SearchMethod, spec: AugmentSpec, mesh: Mesh | None, *, batch_size: int
) -> Callable[..., Evaluation]:
    """The supernet on the validation half, in the order of its indices.

    Args:
      method: the search method.
      spec: for normalisation; nothing is augmented.
      mesh: the devices that batches are divided over; None: batches stay whole.
      batch_size: images per batch.

    Returns:
      ``evaluation(state, data, start, count) -> Evaluation``: sums over `count` batches
      from batch `start` on; the last batch of the half may be incomplete.
    """

    def one(state: SearchState, data: DeviceData, number: jax.Array) -> Evaluation:
        total = data.valid.shape[0]
        places = number * batch_size + jnp.arange(batch_size)
        # An incomplete batch is filled with the first images: they do not count, but
        # statistics of a batch, where these are used, are of different images.
        indices = data.valid[places % total]
        images = normalise(data.images[indices], spec, default_dtype())
        batch = shard_batch(Batch(images, data.labels[indices]), mesh)
        return method.evaluate(state, batch, (places < total).astype(images.dtype))

    def evaluation(
        state: SearchState, data: DeviceData, start: jax.Array, count: jax.Array
    ) -> Evaluation:
        def body(i: jax.Array, sums: Evaluation) -> Evaluation:
            return jax.tree.map(jnp.add, sums, one(state, data, start + i))

        zero = jnp.zeros((), default_dtype())
        return lax.fori_loop(0, count, body, Evaluation(zero, zero, zero))

    return evaluation


def default_dtype() -> jnp.dtype:
    """float32, or float64 where the user has enabled it."""
    return jnp.result_type(float)
