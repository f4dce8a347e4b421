"""One step of the training of a recurrent cell, as pure functions of its state."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jdarts import tree
from jdarts.data import Segment
from jdarts.methods.optimizers import (
    WeightOptimizer,
    decay_by_epoch,
    descend,
    learning_rate,
    start_descent,
    weight_transformation,
)
from jdarts.nets.language import LanguageModel
from jdarts.ops.pack import pack
from jdarts.problem import Evaluation, Passage, next_token
from jdarts.types import Arch, Metrics, Now, PyTree

__all__ = ["TextTrainState", "TextTrainer", "make_text_trainer"]

_NOTHING = Arch({}, {})  # a derived cell has no architecture parameters


class TextTrainState(NamedTuple):
    """What the next step needs, and nothing else.

    Attributes:
      step: number of steps done, int32.
      w: the weights.
      hidden: the state that the training text hands on, ``[batch, unit]``.
      opt: the optimiser's state, of the packed weights.
      averaging: bool, whether weights are averaged from here on.
      averaged: number of weights in the average, int32.
      average: their mean.
      best: the weights of the epoch with the lowest validation loss.
    """

    step: jax.Array
    w: PyTree
    hidden: jax.Array
    opt: PyTree
    averaging: jax.Array
    averaged: jax.Array
    average: PyTree
    best: PyTree

    def current(self) -> PyTree:
        """The weights that are evaluated: the average, if there is one."""
        return jax.tree.map(
            lambda a, w: jnp.where(self.averaged > 0, a, w), self.average, self.w
        )


class TextTrainer(NamedTuple):
    """A training as three functions.

    Attributes:
      init: ``init(key, example) -> TextTrainState``; only the shape of the segment
        matters.
      step: ``step(key, state, segment) -> (state, metrics)``. The key is the run's.
        Metrics are scalars, from before the step: `train_loss` (with the penalties),
        `train_accuracy`, `gradient_norm` before clipping, `lr`.
      evaluate: ``evaluate(w, passage, mask) -> (Evaluation, hidden)``.
    """

    init: Callable[[jax.Array, Segment], TextTrainState]
    step: Callable[..., tuple[TextTrainState, Metrics]]
    evaluate: Callable[..., tuple[Evaluation, jax.Array]]


def make_text_trainer(
    model: LanguageModel, optimizer: WeightOptimizer, *, epochs: int, per_epoch: int
) -> TextTrainer:
    """SGD, and from some step on its average (Polyak, Juditsky, 1992), as for AWD-LSTM.

    Merity, Keskar, Socher, ICLR 2018, section 4: the average is the mean of all weights
    since averaging began, with the same learning rate.

    Args:
      model: the network of a derived cell.
      optimizer: of the weights.
      epochs: length of the training, >= 1.
      per_epoch: steps in one epoch, >= 1.
    """
    problem = next_token(model, lambda arch, now=None: {})
    schedule = learning_rate(optimizer, epochs, per_epoch, problem.rate)
    decay = decay_by_epoch(optimizer, epochs, per_epoch, "--optimizer")
    tx = weight_transformation(optimizer, schedule, clip=True, decay=decay)

    def init(key: jax.Array, example: Segment) -> TextTrainState:
        w, model_state = problem.init(key, example)
        copies = [jax.tree.map(jnp.copy, w) for _ in range(2)]  # each donated once
        return TextTrainState(
            step=jnp.zeros((), jnp.int32),
            w=w,
            hidden=model_state["train"],
            opt=start_descent(tx, w),
            averaging=jnp.zeros((), bool),
            averaged=jnp.zeros((), jnp.int32),
            average=copies[0],
            best=copies[1],
        )

    def step(
        key: jax.Array, state: TextTrainState, segment: Segment
    ) -> tuple[TextTrainState, Metrics]:
        now = Now(jax.random.fold_in(key, state.step), state.step)
        passage = Passage(segment, state.hidden * ~segment.fresh, jnp.int32(0))
        before = {"statistics": ()}
        (loss, (after, accuracy)), gradient = jax.value_and_grad(
            problem.train_loss, has_aux=True
        )(state.w, before, _NOTHING, passage, now)
        w, opt = descend(tx, gradient, state.opt, state.w)
        averaged = jnp.where(state.averaging, state.averaged + 1, 0)
        share = 1 / jnp.maximum(averaged, 1)
        average = jax.tree.map(
            lambda a, new: a + share.astype(a.dtype) * (new - a), state.average, w
        )
        metrics = {
            "train_loss": loss,
            "train_accuracy": accuracy,
            "gradient_norm": tree.norm(pack(gradient)),
            "lr": schedule(state.step),
        }
        state = state._replace(
            step=state.step + 1,
            w=w,
            hidden=after["train"],
            opt=opt,
            averaged=averaged,
            average=average,
        )
        return state, metrics

    def evaluate(
        w: PyTree, passage: Passage, mask: jax.Array
    ) -> tuple[Evaluation, jax.Array]:
        return problem.evaluate(w, {"statistics": ()}, _NOTHING, passage, mask)

    return TextTrainer(init, step, evaluate)
