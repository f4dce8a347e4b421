"""What all bilevel methods share: settings, and the method made of its parts."""

import dataclasses
import functools
from collections.abc import Callable
from typing import TypedDict

import jax

from jdarts.derive import derive_genotype
from jdarts.errors import UserError
from jdarts.hypergradient import HypergradientConfig, make_hypergradient
from jdarts.methods.base import (
    SearchMethod,
    SearchState,
    Training,
    alternating_step,
    evaluation,
    init_state,
)
from jdarts.methods.optimizers import (
    ArchOptimizer,
    WeightOptimizer,
    arch_transformation,
    decay_by_epoch,
    learning_rate,
    weight_transformation,
)
from jdarts.nets.partial import ALL_CHANNELS, PartialChannels
from jdarts.problem import BilevelProblem, Networks, pose
from jdarts.relaxation import Prune, Relaxation, settle_by_epoch
from jdarts.spaces import Genotype, SearchSpace
from jdarts.types import Arch

__all__ = [
    "BilevelConfig",
    "Length",
    "all_ops",
    "build_bilevel",
    "single_op",
    "single_op_for_w",
]


@dataclasses.dataclass(frozen=True)
class BilevelConfig:
    """The settings that all bilevel methods have; defaults are those of DARTS."""

    hypergradient: HypergradientConfig = HypergradientConfig()
    """How the architecture's gradient is taken."""
    weights: WeightOptimizer = WeightOptimizer()
    """The optimiser of the weights."""
    arch: ArchOptimizer = ArchOptimizer()
    """The optimiser of the architecture."""
    warmup: float = 0.0
    """Share of the epochs, at the start, that train the weights alone; in [0, 1)."""
    clip_virtual: bool = False
    """Clip the virtual weight step as the real one; published so for texts, not for
    images."""
    simultaneous: bool = False
    """Take the weight step at the old architecture: shares its forward pass with the
    virtual step's, but is not the published algorithm, which takes it at the new one.
    """

    def check(self) -> None:
        """Raises a UserError for a value out of range, or one without effect."""
        self.weights.check("--method.weights")
        self.arch.check("--method.arch")
        if not 0 <= self.warmup < 1:
            raise UserError(
                f"--method.warmup: {self.warmup}; expected a share of the epochs, at "
                "least 0 and less than 1"
            )
        if self.clip_virtual and not self.hypergradient.takes_virtual_steps:
            raise UserError(
                "--method.clip-virtual: has no effect with "
                f"'{self.hypergradient.name}'; expected "
                "--method.no-clip-virtual, or --method.hypergradient.name unrolled or "
                "finite_difference"
            )

    def warmup_epochs(self, epochs: int) -> int:
        """Epochs that train the weights alone, of so many in all."""
        return round(self.warmup * epochs)


class Length(TypedDict):
    """The length of a search: see `build_bilevel`."""

    epochs: int
    steps_per_epoch: int


Mixer = Callable[[Networks, Relaxation], BilevelProblem]
"""Which ops a pass computes: of a network and a relaxation, the losses."""


def all_ops(network: Networks, relaxation: Relaxation) -> BilevelProblem:
    """Every pass computes all ops of every edge."""
    return pose(network, relaxation.weights)


def single_op(network: Networks, relaxation: Relaxation) -> BilevelProblem:
    """Every pass computes the one op of each edge that has a mixing weight."""
    single = network._replace(apply=network.apply_single)  # pyrefly: ignore
    return pose(single, relaxation.weights)


def single_op_for_w(network: Networks, relaxation: Relaxation) -> BilevelProblem:
    """The weight step and evaluation as `single_op`, the others as `all_ops`."""
    single = single_op(network, relaxation)
    every = all_ops(network, relaxation)
    return single._replace(loss=every.loss, valid_loss=every.valid_loss)


def build_bilevel(
    config: BilevelConfig,
    space: SearchSpace,
    network: Networks,
    relaxation: Relaxation,
    *,
    epochs: int,
    steps_per_epoch: int,
    mixer: Mixer = all_ops,
    partial: PartialChannels = ALL_CHANNELS,
    penalty: Callable[[Arch], jax.Array] | None = None,
    prune: Prune | None = None,
    discretize: Callable[[Arch], Genotype] | None = None,
) -> SearchMethod:
    """A bilevel method, made of its parts.

    Args:
      config: the settings.
      space: the search space.
      network: its supernet.
      relaxation: from architecture parameters to mixing weights.
      epochs: length of the search, for the learning rate's schedule, >= 1.
      steps_per_epoch: steps in one epoch, >= 1.
      mixer: which ops are computed.
      partial: which channels the network has to send through the ops.
      penalty: added to the validation loss, as is what `network.price` says of the
        expected mixing weights.
      prune: what is given up after an epoch; for a relaxation as `pruned_softmax`.
      discretize: from architecture parameters to the genotype; by default the strongest
        connections by what the relaxation ranks them by.

    Raises:
      UserError: for a setting out of range, or one that has no effect, or a network
        that does not fit.
    """
    config.check()
    if network.partial != partial:
        raise UserError(
            f"network: it was made with {network.partial}, but the method expects "
            f"{partial}; make it with jdarts.make_supernet(config, ...)"
        )
    problem = mixer(network, relaxation)
    warmup_steps = config.warmup_epochs(epochs) * steps_per_epoch
    schedule = learning_rate(config.weights, epochs, steps_per_epoch, problem.rate)

    transformation = functools.partial(
        weight_transformation,
        config.weights,
        schedule,
        decay=decay_by_epoch(config.weights, epochs, steps_per_epoch),
    )
    training = Training(
        weights=transformation(clip=True),
        virtual=transformation(clip=config.clip_virtual),
        arch=arch_transformation(config.arch),
        schedule=schedule,
    )
    step = alternating_step(
        problem,
        relaxation,
        make_hypergradient(config.hypergradient),
        training,
        simultaneous=config.simultaneous,
        warmup_steps=warmup_steps,
        penalty=_with_price(penalty, network.price, relaxation, space),
        settle=settle_by_epoch(prune, steps_per_epoch) if prune else None,
    )

    mean_problem = pose(network, lambda arch, now=None: relaxation.expected(arch))

    def mean_loss(state: SearchState, alpha: dict[str, jax.Array], batch) -> jax.Array:
        arch = state.arch._replace(alpha=alpha)
        return mean_problem.valid_loss(state.w, arch, batch)[0]

    def strongest(arch: Arch) -> Genotype:
        return derive_genotype(space, (relaxation.ranks or relaxation.expected)(arch))

    return SearchMethod(
        init=init_state(problem, relaxation, training, space),
        step=step,
        weights=relaxation.expected,
        evaluate=evaluation(problem),
        discretize=discretize or strongest,
        train_batches=config.hypergradient.virtual_steps,
        unjudged_steps=warmup_steps,
        mean_loss=mean_loss,
    )


def _with_price(
    penalty: Callable[[Arch], jax.Array] | None,
    price: Callable[..., jax.Array] | None,
    relaxation: Relaxation,
    space: SearchSpace,
) -> Callable[[Arch], jax.Array] | None:
    """The method's own penalty and the network's price together."""
    if price is None:
        return penalty

    # Of any key: what a node's weights sum to at the start is hardly random.
    arch = relaxation.init(jax.random.key(0), space)
    start = jax.device_get(relaxation.expected(arch))

    def priced(arch: Arch) -> jax.Array:
        cost = price(relaxation.expected(arch), start)
        return cost if penalty is None else cost + penalty(arch)

    return priced
