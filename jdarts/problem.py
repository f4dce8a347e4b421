"""The bilevel problem that a network and a relaxation pose.

A new kind of network comes with a function of its own, registered with `pose`.
"""

from collections.abc import Callable
from functools import singledispatch
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.typing import ArrayLike

from jdarts.data import Segment
from jdarts.nets.network import Network
from jdarts.nets.recurrent import Masks, Reading
from jdarts.nets.recurrent_task import LanguageTask
from jdarts.types import Arch, Batch, PyTree

__all__ = [
    "BilevelProblem",
    "Evaluation",
    "Networks",
    "Passage",
    "classification",
    "language_model",
    "pose",
    "token_losses",
]

Networks = Network | LanguageTask
"""What `pose` knows to make a problem of."""

Weights = Callable[[Arch], dict[str, jax.Array]]


class Evaluation(NamedTuple):
    """Sums over a batch, to be added up over batches.

    Attributes:
      loss: summed cross-entropy, in nats.
      correct: number of images classified, or of tokens predicted, correctly.
      count: number of images or tokens.
    """

    loss: jax.Array
    correct: jax.Array
    count: jax.Array


class BilevelProblem(NamedTuple):
    """What a search minimises. Losses are means over a batch, in nats.

    Attributes:
      init: ``init(key, example) -> (w, model_state)``.
      loss: ``loss(w, arch, batch) -> scalar`` with batch statistics: the train loss of
        virtual steps.
      valid_loss: ``valid_loss(w, arch, batch) -> (loss, carried)``: the same function
        of another batch, and what it hands on to the next step.
      train_loss: ``train_loss(w, model_state, arch, batch) -> (loss, (model_state,
        accuracy))``: the loss of the real weight step, which alone may update the
        running statistics.
      evaluate: ``evaluate(w, model_state, arch, batch, mask)`` with running statistics,
        over the examples where `mask` is 1: an `Evaluation`, for texts with the hidden
        state.
      prepare: ``prepare(key, state, train, valid) -> (train, valid)``: what a step's
        losses read besides the data: everything that is random in them, and what
        earlier steps handed on. It is so the same in all passes of a step.
      keep: ``keep(model_state, carried) -> model_state``.
      rate: of a step: what its learning rate is multiplied by.
    """

    init: Callable[[jax.Array, Any], tuple[PyTree, PyTree]]
    loss: Callable[[PyTree, Arch, Any], jax.Array]
    valid_loss: Callable[[PyTree, Arch, Any], tuple[jax.Array, PyTree]]
    train_loss: Callable[..., tuple[jax.Array, tuple[PyTree, jax.Array]]]
    evaluate: Callable[..., Any]
    prepare: Callable[..., tuple[PyTree, PyTree]]
    keep: Callable[[PyTree, PyTree], PyTree]
    rate: Callable[[ArrayLike], ArrayLike]


@singledispatch
def pose(network: Networks, weights: Weights) -> BilevelProblem:
    """The problem that goes with that kind of network.

    Args:
      network: a supernet of images, or a language model with its task.
      weights: from architecture parameters to mixing weights.
    """
    raise TypeError(f"no problem for {type(network).__name__}")


@pose.register
def classification(network: Network, weights: Weights) -> BilevelProblem:
    """Image classification by cross-entropy.

    Args:
      network: the supernet.
      weights: from architecture parameters to mixing weights.
    """

    def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels)

    def train_loss(
        w: PyTree, model_state: PyTree, arch: Arch, batch: Batch
    ) -> tuple[jax.Array, tuple[PyTree, jax.Array]]:
        logits, model_state = network.apply(
            w, model_state, weights(arch), batch.images, True
        )
        correct = jnp.argmax(logits, axis=-1) == batch.labels
        loss = cross_entropy(logits, batch.labels).mean()
        return loss, (model_state, correct.mean(dtype=loss.dtype))

    def loss(w: PyTree, arch: Arch, batch: Batch) -> jax.Array:
        logits, _ = network.apply(w, None, weights(arch), batch.images, True)
        return cross_entropy(logits, batch.labels).mean()

    def evaluate(
        w: PyTree, model_state: PyTree, arch: Arch, batch: Batch, mask: jax.Array
    ) -> Evaluation:
        logits, _ = network.apply(w, model_state, weights(arch), batch.images, False)
        correct = jnp.argmax(logits, axis=-1) == batch.labels
        losses = cross_entropy(logits, batch.labels)
        return Evaluation((losses * mask).sum(), (correct * mask).sum(), mask.sum())

    return BilevelProblem(
        init=network.init,
        loss=loss,
        valid_loss=lambda w, arch, batch: (loss(w, arch, batch), ()),
        train_loss=train_loss,
        evaluate=evaluate,
        prepare=lambda key, state, train, valid: (train, valid),
        keep=lambda model_state, carried: model_state,
        rate=lambda step: 1.0,
    )


class Passage(NamedTuple):
    """A segment with what its loss reads besides; all of it constant in a step.

    Attributes:
      segment: the text.
      hidden: the state before it, ``[batch, unit]``.
      masks: what is dropped.
    """

    segment: Segment
    hidden: jax.Array
    masks: Masks


def token_losses(reading: Reading, segment: Segment) -> tuple[jax.Array, jax.Array]:
    """``(losses, counts)``: cross-entropies ``[time, batch]`` in nats, and 1 where the
    time step counts, ``[time, 1]``."""
    losses = optax.softmax_cross_entropy_with_integer_labels(
        reading.logits, segment.targets
    )
    times = jnp.arange(segment.tokens.shape[0])
    return losses, (times < segment.length).astype(losses.dtype)[:, None]


@pose.register
def language_model(network: LanguageTask, weights: Weights) -> BilevelProblem:
    """Next-token prediction with a recurrent cell (Liu et al., 'DARTS', section 3.1.2).

    The model state holds the running statistics and two hidden states: that of the
    training text after the last real weight step, and that of the validation text as
    the last architecture step saw it, at its virtual weights. Both are constants.

    Args:
      network: the search network, and how it is trained.
      weights: from architecture parameters to mixing weights.
    """
    net, task = network.network, network

    def init(key: jax.Array, example: Segment) -> tuple[PyTree, PyTree]:
        w, statistics = net.init(key, jnp.result_type(float))
        hidden = net.start(example.tokens.shape[-1], jnp.result_type(float))
        # Of their own: the state is donated, each array once.
        states = {"train": hidden, "valid": jnp.copy(hidden)}
        return w, {"statistics": statistics, **states}

    def read(
        w: PyTree, statistics: PyTree, arch: Arch, passage: Passage, train: bool
    ) -> tuple[Reading, PyTree]:
        segment = passage.segment
        return net.apply(
            w,
            statistics,
            weights(arch),
            segment.tokens,
            segment.length,
            passage.hidden,
            passage.masks,
            train,
        )

    def mean_loss(reading: Reading, segment: Segment) -> jax.Array:
        losses, counts = token_losses(reading, segment)
        return (losses * counts).sum() / (counts.sum() * losses.shape[1])

    def valid_loss(
        w: PyTree, arch: Arch, passage: Passage
    ) -> tuple[jax.Array, jax.Array]:
        reading, _ = read(w, None, arch, passage, True)
        return mean_loss(reading, passage.segment), reading.hidden

    def train_loss(
        w: PyTree, model_state: PyTree, arch: Arch, passage: Passage
    ) -> tuple[jax.Array, tuple[PyTree, jax.Array]]:
        segment = passage.segment
        reading, statistics = read(w, model_state["statistics"], arch, passage, True)
        loss = mean_loss(reading, segment)
        _, counts = token_losses(reading, segment)
        correct = jnp.argmax(reading.logits, axis=-1) == segment.targets
        accuracy = (correct * counts).sum() / (counts.sum() * correct.shape[1])
        loss = loss + task.penalty(reading, segment.length)
        after = {"statistics": statistics, "train": reading.hidden}
        return loss, (model_state | after, accuracy)

    def evaluate(
        w: PyTree, model_state: PyTree, arch: Arch, passage: Passage, mask: jax.Array
    ) -> tuple[Evaluation, jax.Array]:
        reading, _ = read(w, model_state["statistics"], arch, passage, False)
        losses, counts = token_losses(reading, passage.segment)
        mask = mask * counts
        correct = jnp.argmax(reading.logits, axis=-1) == passage.segment.targets
        sums = (losses * mask).sum(), (correct * mask).sum(), mask.sum()
        return Evaluation(*sums), reading.hidden

    def prepare(
        key: jax.Array, state: Any, train: Segment, valid: Segment
    ) -> tuple[Passage, Passage]:
        """The k-th virtual step goes on where the segments before it end, read with the
        step's first weights."""
        key = jax.random.fold_in(key, state.step)
        steps, _, batch = train.tokens.shape
        keys = jax.random.split(key, steps + 1)
        dtype = state.model_state["train"].dtype
        passages, hidden = [], state.model_state["train"]
        for k in range(steps):
            segment = jax.tree.map(lambda x, k=k: x[k], train)
            hidden = hidden * ~segment.fresh
            masks = net.masks(keys[k], batch, dtype)
            passages.append(Passage(segment, hidden, masks))
            if k + 1 < steps:
                reading, _ = read(state.w, None, state.arch, passages[k], True)
                hidden = lax.stop_gradient(reading.hidden)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *passages)
        before = state.model_state["valid"] * ~valid.fresh
        return stacked, Passage(valid, before, net.masks(keys[-1], batch, dtype))

    return BilevelProblem(
        init=init,
        loss=lambda w, arch, passage: valid_loss(w, arch, passage)[0],
        valid_loss=valid_loss,
        train_loss=train_loss,
        evaluate=evaluate,
        prepare=prepare,
        keep=lambda model_state, hidden: model_state | {"valid": hidden},
        rate=task.rate,
    )
