"""DARTS: continuous relaxation by softmax, alternating bilevel steps."""

import dataclasses
import math

from jdarts.derive import derive_genotype
from jdarts.errors import UserError
from jdarts.hypergradient import HypergradientConfig, make_hypergradient
from jdarts.methods.base import (
    SearchMethod,
    SearchState,
    Training,
    alternating_step,
    init_state,
)
from jdarts.methods.optimizers import (
    ArchOptimizer,
    WeightOptimizer,
    arch_transformation,
    cosine_by_epoch,
    weight_transformation,
)
from jdarts.nets.network import Network
from jdarts.problem import classification
from jdarts.relaxation import softmax
from jdarts.spaces import SearchSpace

__all__ = ["DartsConfig", "build"]


@dataclasses.dataclass(frozen=True)
class DartsConfig:
    """Liu, Simonyan, Yang, 'DARTS', ICLR 2019; defaults as published for CIFAR-10."""

    hypergradient: HypergradientConfig = HypergradientConfig()
    """How the architecture's gradient is taken."""
    weights: WeightOptimizer = WeightOptimizer()
    """The optimiser of the weights."""
    arch: ArchOptimizer = ArchOptimizer()
    """The optimiser of the architecture."""
    init_scale: float = 1e-3
    """Standard deviation of alpha at the start, >= 0."""
    clip_virtual: bool = False
    """Clip the virtual weight step as the real one; the published step is not clipped.
    """
    simultaneous: bool = False
    """Take the weight step at the old architecture: shares its forward pass with the
    virtual step's, but is not the published algorithm, which takes it at the new one.
    """


def build(
    config: DartsConfig,
    space: SearchSpace,
    network: Network,
    *,
    epochs: int,
    steps_per_epoch: int,
) -> SearchMethod:
    """DARTS on a supernet.

    Args:
      config: the settings.
      space: the search space.
      network: its supernet.
      epochs: length of the search, for the learning rate's schedule, >= 1.
      steps_per_epoch: steps in one epoch, >= 1.

    Raises:
      UserError: for a setting out of range, or one that has no effect.
    """
    config.weights.check("--method.weights")
    config.arch.check("--method.arch")
    if not 0 <= config.init_scale < math.inf:
        raise UserError(f"--method.init-scale: {config.init_scale}; expected >= 0")
    if config.clip_virtual and config.hypergradient.name == "first_order":
        raise UserError(
            "--method.clip-virtual: has no effect with 'first_order'; expected "
            "--method.hypergradient.name unrolled or finite_difference"
        )
    hypergradient = make_hypergradient(config.hypergradient)
    relaxation = softmax(config.init_scale)
    problem = classification(network, relaxation.weights)
    schedule = cosine_by_epoch(config.weights, epochs, steps_per_epoch)
    training = Training(
        weights=weight_transformation(config.weights, schedule, clip=True),
        virtual=weight_transformation(
            config.weights, schedule, clip=config.clip_virtual
        ),
        arch=arch_transformation(config.arch),
        schedule=schedule,
    )

    def evaluate(state: SearchState, batch, mask):
        return problem.evaluate(state.w, state.model_state, state.arch, batch, mask)

    return SearchMethod(
        init=init_state(problem, relaxation, training, space),
        step=alternating_step(
            problem,
            relaxation,
            hypergradient,
            training,
            simultaneous=config.simultaneous,
        ),
        weights=relaxation.weights,
        evaluate=evaluate,
        discretize=lambda arch: derive_genotype(space, relaxation.weights(arch)),
        train_batches=config.hypergradient.virtual_steps,
    )
