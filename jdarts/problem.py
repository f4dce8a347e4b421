"""The bilevel problem that a network and a relaxation pose.

A new kind of network comes with its own function, registered with `pose`.
"""

from collections.abc import Callable
from functools import singledispatch
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jdarts.data import Segment
from jdarts.lazy import LazyModule
from jdarts.nets.language import LanguageModel
from jdarts.nets.network import Network
from jdarts.nets.recurrent import Masks, Reading
from jdarts.types import Arch, Batch, Now, PyTree

if TYPE_CHECKING:
    import optax
else:
    optax = LazyModule("optax")

__all__ = [
    "BilevelProblem",
    "Evaluation",
    "Networks",
    "Passage",
    "classification",
    "next_token",
    "pose",
]

Networks = Network | LanguageModel
"""What `pose` knows to make a problem of."""

Weights = Callable[..., dict[str, jax.Array]]


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
      loss: ``loss(w, arch, batch, now=None) -> scalar`` with batch statistics: the
        train loss of virtual steps. `now` is the step at hand, for what is random;
        without it nothing is.
      valid_loss: ``valid_loss(w, arch, batch, now=None) -> (loss, carried)``: the same
        function of another batch, and what it hands on to the next step.
      train_loss: ``train_loss(w, model_state, arch, batch, now=None) -> (loss,
        (model_state, accuracy))``: the loss of the real weight step, which alone may
        update the running statistics.
      evaluate: ``evaluate(w, model_state, arch, batch, mask)`` with running statistics,
        over the examples where `mask` is 1: an `Evaluation`, for texts with the hidden
        state.
      prepare: ``prepare(state, train, valid, now) -> (train, valid)``: gives batches
        what earlier steps handed on.
      keep: ``keep(model_state, carried) -> model_state``.
      rate: of a step: what its learning rate is multiplied by.
    """

    init: Callable[[jax.Array, Any], tuple[PyTree, PyTree]]
    loss: Callable[..., jax.Array]
    valid_loss: Callable[..., tuple[jax.Array, PyTree]]
    train_loss: Callable[..., tuple[jax.Array, tuple[PyTree, jax.Array]]]
    evaluate: Callable[..., Any]
    prepare: Callable[..., tuple[PyTree, PyTree]]
    keep: Callable[[PyTree, PyTree], PyTree]
    rate: Callable[[ArrayLike], Any]


@singledispatch
def pose(network: Networks, weights: Weights) -> BilevelProblem:
    """The problem that goes with that kind of network.

    Args:
      network: a supernet of images, or a language model.
      weights: from architecture parameters to mixing weights; see `Relaxation`.
    """
    raise TypeError(f"no problem for {type(network).__name__}")


@pose.register
def classification(network: Network, weights: Weights) -> BilevelProblem:
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
        mix_now, key, drop_rate = now, None, None
        if now is not None:
            mix_key, key = jax.random.split(now.key)
            mix_now = now._replace(key=mix_key)
            if network.drop_rate is not None:
                drop_rate = network.drop_rate(now.step)
        mix = weights(arch, mix_now)
        return network.apply(w, model_state, mix, batch.images, True, key, drop_rate)

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

    return BilevelProblem(
        init=network.init,
        loss=loss,
        valid_loss=lambda w, arch, batch, now=None: (loss(w, arch, batch, now), ()),
        train_loss=train_loss,
        evaluate=evaluate,
        prepare=lambda state, train, valid, now: (train, valid),
        keep=lambda model_state, carried: model_state,
        rate=lambda step: 1.0,
    )


class Passage(NamedTuple):
    """A segment with what else its loss reads; all of it constant in a step.

    Attributes:
      segment: the text.
      hidden: the state before it, ``[batch, unit]``.
      number: int32, in its step: passages of one step drop other units.
    """

    segment: Segment
    hidden: jax.Array
    number: jax.Array


def _counts(segment: Segment, dtype: Any) -> jax.Array:
    """1 where the time step counts, ``[time, 1]``."""
    times = jnp.arange(segment.tokens.shape[0])
    return (times < segment.length).astype(dtype)[:, None]


@pose.register
def next_token(network: LanguageModel, weights: Weights) -> BilevelProblem:
    """Language modelling with a recurrent cell (Liu et al., 'DARTS', section 3.1.2).

    The model state holds the running statistics and two hidden states: that of the
    training text after the last real weight step, and that of the validation text as
    the last architecture step saw it, at its virtual weights if it makes any. Both are
    constants.
    Dropout is drawn once for all passes of an architecture step, and once for the
    weight step.

    Args:
      network: the search network, and how it is trained.
      weights: from architecture parameters to mixing weights; see `Relaxation`.
    """
    net = network.network

    def init(key: jax.Array, example: Segment) -> tuple[PyTree, PyTree]:
        w, statistics = net.init(key, jnp.result_type(float))
        hidden = net.start(example.tokens.shape[-1], jnp.result_type(float))
        # Copies: the state is donated, each array once.
        states = {"train": hidden, "valid": jnp.copy(hidden)}
        return w, {"statistics": statistics, **states}

    def read(
        w: PyTree, statistics: PyTree, arch: Arch, passage: Passage, now: Now | None
    ) -> tuple[Reading, PyTree]:
        """In training; without a step nothing is dropped."""
        masks = Masks()
        if now is not None:
            mix_key, drop_key = jax.random.split(now.key)
            now = now._replace(key=mix_key)
            drop_key = jax.random.fold_in(drop_key, passage.number)
            masks = net.masks(drop_key, *passage.hidden.shape[:1], passage.hidden.dtype)
        mix, (tokens, _, length, _) = weights(arch, now), passage.segment
        return network.apply(
            w, statistics, mix, tokens, length, passage.hidden, masks, True
        )

    def mean_score(reading: Reading, segment: Segment) -> tuple[jax.Array, jax.Array]:
        """Loss and accuracy."""
        losses, correct = reading.score(segment.targets)
        counts = _counts(segment, losses.dtype)
        count = counts.sum() * losses.shape[1]
        return (losses * counts).sum() / count, (correct * counts).sum() / count

    def valid_loss(
        w: PyTree, arch: Arch, passage: Passage, now: Now | None = None
    ) -> tuple[jax.Array, jax.Array]:
        reading, _ = read(w, None, arch, passage, now)
        return mean_score(reading, passage.segment)[0], reading.hidden

    def loss(
        w: PyTree, arch: Arch, passage: Passage, now: Now | None = None
    ) -> jax.Array:
        return valid_loss(w, arch, passage, now)[0]

    def train_loss(
        w: PyTree,
        model_state: PyTree,
        arch: Arch,
        passage: Passage,
        now: Now | None = None,
    ) -> tuple[jax.Array, tuple[PyTree, jax.Array]]:
        segment = passage.segment
        reading, statistics = read(w, model_state["statistics"], arch, passage, now)
        loss, accuracy = mean_score(reading, segment)
        loss = loss + network.penalty(reading, segment.length)
        after = {"statistics": statistics, "train": reading.hidden}
        return loss, (model_state | after, accuracy)

    def evaluate(
        w: PyTree, model_state: PyTree, arch: Arch, passage: Passage, mask: jax.Array
    ) -> tuple[Evaluation, jax.Array]:
        (tokens, targets, length, _), mix = passage.segment, weights(arch)
        statistics, hidden = model_state["statistics"], passage.hidden
        reading, _ = network.apply(
            w, statistics, mix, tokens, length, hidden, Masks(), False
        )
        losses, correct = reading.score(targets)
        mask = mask * _counts(passage.segment, losses.dtype)
        sums = (losses * mask).sum(), (correct * mask).sum(), mask.sum()
        return Evaluation(*sums), reading.hidden

    def prepare(
        state: Any, train: Segment, valid: Segment, now: Now
    ) -> tuple[Passage, Passage]:
        """The k-th virtual step goes on where the segments before it end, read with the
        step's first weights."""
        steps = train.tokens.shape[0]
        passages, hidden = [], state.model_state["train"]
        for k in range(steps):
            segment = jax.tree.map(lambda x, k=k: x[k], train)
            passages.append(Passage(segment, hidden * ~segment.fresh, jnp.int32(k)))
            if k + 1 < steps:
                reading, _ = read(state.w, None, state.arch, passages[k], now)
                hidden = lax.stop_gradient(reading.hidden)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *passages)
        before = state.model_state["valid"] * ~valid.fresh
        return stacked, Passage(valid, before, jnp.int32(steps))

    return BilevelProblem(
        init=init,
        loss=loss,
        valid_loss=valid_loss,
        train_loss=train_loss,
        evaluate=evaluate,
        prepare=prepare,
        keep=lambda model_state, hidden: model_state | {"valid": hidden},
        rate=network.rate,
    )
