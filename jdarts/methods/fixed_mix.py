"""Training a supernet's weights alone, at mixing weights that stay as they are."""

import jax
import jax.numpy as jnp

from jdarts.derive import derive_genotype
from jdarts.methods.base import (
    SearchBatches,
    SearchMethod,
    SearchState,
    Training,
    evaluation,
    init_state,
    weight_step,
)
from jdarts.methods.bilevel import all_ops
from jdarts.methods.optimizers import (
    ArchOptimizer,
    WeightOptimizer,
    arch_transformation,
    learning_rate,
    weight_transformation,
)
from jdarts.nets.network import Network
from jdarts.relaxation import Relaxation
from jdarts.spaces import SearchSpace
from jdarts.types import Arch, Metrics, Now

__all__ = ["fixed_mix"]


def fixed_mix(
    weights: WeightOptimizer,
    space: SearchSpace,
    network: Network,
    *,
    epochs: int,
    steps_per_epoch: int,
) -> SearchMethod:
    """A method whose alpha *is* the mixing weights, and is never trained.

    They are data of the compiled step, so one program serves them all. Every op is
    computed, also one of weight 0. It is evaluated with the statistics of each batch,
    as in the authors' code of DARTS-PT: running statistics are those of other weights.
    No METHODS row: a search with it finds nothing.

    Args:
      weights: the optimiser.
      space: the search space.
      network: its supernet.
      epochs: length of the training, for the learning rate's schedule, >= 1.
      steps_per_epoch: steps in one epoch, >= 1.
    """

    def even(key: jax.Array, space: SearchSpace) -> Arch:
        del key
        cells = space.cells.items()
        shapes = {k: (len(spec.edges), len(spec.primitives)) for k, spec in cells}
        return Arch({k: jnp.full(s, 1 / s[1]) for k, s in shapes.items()}, {})

    relaxation = Relaxation(
        init=even,
        weights=lambda arch, now=None: arch.alpha,
        project=lambda arch: arch,
    )
    problem = all_ops(network, relaxation)
    schedule = learning_rate(weights, epochs, steps_per_epoch, problem.rate)
    optimizer = weight_transformation(weights, schedule, clip=True)
    arch_optimizer = arch_transformation(ArchOptimizer())  # never takes a step
    training = Training(optimizer, optimizer, arch_optimizer, schedule)

    def step(
        key: jax.Array, state: SearchState, batches: SearchBatches
    ) -> tuple[SearchState, Metrics]:
        now = Now(jax.random.fold_in(key, state.step), state.step)
        batches = SearchBatches(*problem.prepare(state, *batches, now))
        return weight_step(problem, training, state, state.arch, batches, now)

    def apply(w, model_state, mix, images, train):
        del train
        return network.apply(w, model_state, mix, images, True)

    judged = all_ops(network._replace(apply=apply), relaxation)
    return SearchMethod(
        init=init_state(problem, relaxation, training, space),
        step=step,
        weights=relaxation.weights,
        evaluate=evaluation(judged),
        discretize=lambda arch: derive_genotype(space, arch.alpha),
        train_batches=1,
    )
