"""The bilevel problem that a network and a relaxation pose."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jdarts.nets.network import Network
from jdarts.types import Arch, Batch, Now, PyTree

__all__ = ["BilevelProblem", "Evaluation", "classification"]


class Evaluation(NamedTuple):
    """Sums over a batch, to be added up over batches.

    Attributes:
      loss: summed cross-entropy, in nats.
      correct: number of images classified correctly.
      count: number of images.
    """

    loss: jax.Array
    correct: jax.Array
    count: jax.Array


class BilevelProblem(NamedTuple):
    """What a search minimises. Losses are means over a batch, in nats.

    Attributes:
      init: ``init(key, images) -> (w, model_state)``.
      loss: ``loss(w, arch, batch, now=None) -> scalar`` with batch statistics; the
        train loss and the validation loss are the same function of different batches.
        `now` is the step at hand, for what is random; without it nothing is.
      train_loss: ``train_loss(w, model_state, arch, batch, now=None) -> (loss,
        (model_state, accuracy))``: the same loss for the real weight step, which alone
        may update the running statistics.
      evaluate: ``evaluate(w, model_state, arch, batch, mask) -> Evaluation`` with
        running statistics, over the images where `mask` is 1.
    """

    init: Callable[[jax.Array, jax.Array], tuple[PyTree, PyTree]]
    loss: Callable[..., jax.Array]
    train_loss: Callable[..., tuple[jax.Array, tuple[PyTree, jax.Array]]]
    evaluate: Callable[..., Evaluation]


def classification(
    network: Network, weights: Callable[..., dict[str, jax.Array]]
) -> BilevelProblem:
    """Image classification by cross-entropy.

    Args:
      network: the supernet.
      weights: from architecture parameters to mixing weights; see `Relaxation`.
    """

    def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels)

    def logits_now(
        w: PyTree, model_state: PyTree, arch: Arch, batch: Batch, now: Now | None
    ) -> tuple[jax.Array, PyTree]:
        mix_now, key = now, None
        if now is not None:
            mix_key, key = jax.random.split(now.key)
            mix_now = now._replace(key=mix_key)
        mix = weights(arch, mix_now)
        return network.apply(w, model_state, mix, batch.images, True, key)

    def train_loss(
        w: PyTree,
        model_state: PyTree,
        arch: Arch,
        batch: Batch,
        now: Now | None = None,
    ) -> tuple[jax.Array, tuple[PyTree, jax.Array]]:
        logits, model_state = logits_now(w, model_state, arch, batch, now)
        correct = jnp.argmax(logits, axis=-1) == batch.labels
        loss = cross_entropy(logits, batch.labels).mean()
        return loss, (model_state, correct.mean(dtype=loss.dtype))

    def loss(w: PyTree, arch: Arch, batch: Batch, now: Now | None = None) -> jax.Array:
        logits, _ = logits_now(w, None, arch, batch, now)
        return cross_entropy(logits, batch.labels).mean()

    def evaluate(
        w: PyTree, model_state: PyTree, arch: Arch, batch: Batch, mask: jax.Array
    ) -> Evaluation:
        logits, _ = network.apply(w, model_state, weights(arch), batch.images, False)
        correct = jnp.argmax(logits, axis=-1) == batch.labels
        losses = cross_entropy(logits, batch.labels)
        return Evaluation((losses * mask).sum(), (correct * mask).sum(), mask.sum())

    return BilevelProblem(network.init, loss, train_loss, evaluate)
