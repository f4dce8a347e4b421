"""Random sampling with shared weights: the baseline of all searches."""

import dataclasses
from typing import TYPE_CHECKING, Unpack

import jax
import jax.numpy as jnp
from jax import lax

from jdarts.derive import derive_genotype
from jdarts.errors import UserError
from jdarts.lazy import LazyModule
from jdarts.methods.base import (
    SearchBatches,
    SearchMethod,
    SearchState,
    Training,
    evaluation,
    init_state,
    weight_step,
)
from jdarts.methods.bilevel import Length, single_op
from jdarts.methods.optimizers import (
    WeightOptimizer,
    check_value,
    decay_by_epoch,
    learning_rate,
    weight_transformation,
)
from jdarts.problem import Networks, pose
from jdarts.relaxation import Relaxation, uniform
from jdarts.spaces import SearchSpace
from jdarts.types import Arch, Metrics, Now

if TYPE_CHECKING:
    import optax
else:
    optax = LazyModule("optax")

__all__ = ["RandomSamplingConfig", "build"]


@dataclasses.dataclass(frozen=True)
class RandomSamplingConfig:
    """Li, Talwalkar, 'Random Search and Reproducibility for NAS', UAI 2019."""

    weights: WeightOptimizer = WeightOptimizer()
    """The optimiser of the weights; its schedules end with the epochs that train."""
    scored: float = 0.1
    """Share of the epochs, at the end, whose steps score random cells and train nothing
    any more; in (0, 1)."""
    cells: int = 100
    """Random cells that are scored, each on as many validation batches as there are
    steps for it (of few steps, as many cells as steps); >= 1. The best of them is the
    result."""


def build(
    config: RandomSamplingConfig,
    space: SearchSpace,
    network: Networks,
    **length: Unpack[Length],
) -> SearchMethod:
    """Random sampling on a supernet; arguments as of `jdarts.methods.darts.build`.

    Each step trains the weights of one random cell. At the end the weights stay as they
    are, and random cells are scored one after the other: by the mean loss on the
    validation batches of some steps. Alpha holds the best cell: its mixing weights
    times exp(- loss).

    Raises:
      UserError: for a setting out of range.
    """
    config.weights.check("--method.weights")
    valid = 0 < config.scored < 1
    check_value("--method.scored", config.scored, valid, "more than 0, below 1")
    check_value("--method.cells", config.cells, config.cells >= 1, ">= 1")
    relaxation = _summing(uniform(space))
    problem = single_op(network, relaxation)
    single = network._replace(apply=network.apply_single)  # pyrefly: ignore
    of_cell = pose(single, lambda mix, now=None: mix)
    epochs, per_epoch = length["epochs"], length["steps_per_epoch"]
    training_epochs = max(1, min(epochs - 1, round((1 - config.scored) * epochs)))
    if training_epochs == epochs:
        raise UserError(
            "--epochs: 1, but the last epoch scores cells of weights that an earlier "
            "one has trained; expected at least 2"
        )
    schedule = learning_rate(config.weights, training_epochs, per_epoch, problem.rate)
    decay = decay_by_epoch(config.weights, training_epochs, per_epoch)
    weights = weight_transformation(config.weights, schedule, clip=True, decay=decay)
    training = Training(weights, weights, optax.identity(), schedule)
    first_scored = training_epochs * per_epoch
    each = max(1, (epochs - training_epochs) * per_epoch // config.cells)

    def train(
        key: jax.Array, state: SearchState, batches: SearchBatches, now: Now
    ) -> tuple[SearchState, Metrics]:
        del key
        state, info = weight_step(problem, training, state, state.arch, batches, now)
        zero = jnp.zeros_like(info["train_loss"])
        return state, info | {"valid_loss": zero, "arch_gradient_norm": zero}

    def score(
        key: jax.Array, state: SearchState, batches: SearchBatches, now: Now
    ) -> tuple[SearchState, Metrics]:
        since = state.step - first_scored
        place = since % each
        # One draw for all steps of a cell.
        cell_key, _ = jax.random.split(jax.random.fold_in(key, state.step - place))
        mix = relaxation.weights(state.arch, Now(cell_key, state.step))
        loss, carried = of_cell.valid_loss(state.w, mix, batches.valid)
        total = jnp.where(place == 0, 0, state.arch.held) + loss
        best = jnp.stack([a.max() for a in state.arch.alpha.values()]).max()
        merit = jnp.exp(-total / each)
        counts = since < config.cells * each
        better = counts & (place == each - 1) & (merit > best)
        alpha = {
            kind: jnp.where(better, merit * mix[kind], old)
            for kind, old in state.arch.alpha.items()
        }
        # The running statistics go on: they become those of the final weights.
        first = jax.tree.map(lambda x: x[0], batches.train)
        train_loss, (model_state, accuracy) = problem.train_loss(
            state.w, state.model_state, state.arch, first, now
        )
        info: Metrics = {
            "train_loss": train_loss,
            "train_accuracy": accuracy,
            "gradient_norm": jnp.zeros_like(loss),
            "lr": jnp.asarray(training.schedule(state.step)),
            "valid_loss": loss,
            "arch_gradient_norm": jnp.zeros_like(loss),
        }
        after = state._replace(
            step=state.step + 1,
            model_state=problem.keep(model_state, carried),
            arch=Arch(alpha, {}, held=total),
        )
        return after, info

    def step(
        key: jax.Array, state: SearchState, batches: SearchBatches
    ) -> tuple[SearchState, Metrics]:
        _, w_key = jax.random.split(jax.random.fold_in(key, state.step))
        now = Now(w_key, state.step)
        batches = SearchBatches(*problem.prepare(state, *batches, now))
        scoring = state.step >= first_scored
        return lax.cond(scoring, score, train, key, state, batches, now)

    return SearchMethod(
        init=init_state(problem, relaxation, training, space),
        step=step,
        weights=relaxation.weights,
        evaluate=evaluation(problem),
        discretize=lambda arch: derive_genotype(space, relaxation.weights(arch)),
        train_batches=1,
        unjudged_steps=first_scored,
    )


def _summing(relaxation: Relaxation) -> Relaxation:
    """Also holds the sum of the losses of the cell that is being scored."""

    def init(key: jax.Array, space: SearchSpace) -> Arch:
        return relaxation.init(key, space)._replace(held=jnp.zeros(()))

    return relaxation._replace(init=init)
