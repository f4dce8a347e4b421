"""NASP: architectures stay discrete, by proximal steps."""

import dataclasses
from collections.abc import Callable
from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np

from jdarts.derive import MixingWeights, derive_genotype, without_none
from jdarts.errors import UserError, unknown_choice
from jdarts.hypergradient import HypergradientConfig
from jdarts.methods.base import SearchMethod
from jdarts.methods.bilevel import BilevelConfig, Length, build_bilevel, single_op_for_w
from jdarts.methods.optimizers import check_value
from jdarts.nets.cost import weights_of_op
from jdarts.problem import Networks
from jdarts.relaxation import Relaxation, discrete
from jdarts.spaces import Genotype, SearchSpace
from jdarts.types import Arch

__all__ = ["NaspConfig", "build", "burden", "derive", "size_penalty"]

# By name: what ranks the edges and ops of the final genotype. The paper's proximal step
# ranks by alpha itself, the last lines of the authors' code by its softmax.
_RANKINGS = {
    "softmax": lambda alpha: jax.nn.softmax(alpha, axis=-1),
    "alpha": lambda alpha: alpha,
}
_WIDTH = 12  # where the authors counted the weights of ops


@dataclasses.dataclass(frozen=True)
class NaspConfig(BilevelConfig):
    """Yao, Xu, Tu, Zhu, 'NASP', AAAI 2020; defaults as published for CIFAR-10."""

    hypergradient: HypergradientConfig = HypergradientConfig("first_order")
    """How the architecture's gradient is taken."""
    eta: float = 0.0
    """Complexity regulariser: times the share of weights of the ops in use, >= 0."""
    rank: str = "softmax"
    """What the final genotype's edges are chosen by: softmax (of alpha: the authors'
    code) or alpha (as in every proximal step). They can disagree."""
    start: float = 0.5
    """Every alpha at the start, in [0, 1]."""


def burden(space: SearchSpace) -> dict[str, jax.Array]:
    """Each primitive's number of weights relative to their sum, by cell type.

    At 12 channels and stride 1; reduction cells are free, both as in the authors' code.
    """
    found = {}
    for kind, spec in space.cells.items():
        counts = [weights_of_op(name, _WIDTH) for name in spec.primitives]
        free = spec.stride == 2 or not any(counts)
        found[kind] = jnp.array(counts) * (0.0 if free else 1 / sum(counts))
    return found


def size_penalty(
    eta: float, space: SearchSpace, relaxation: Relaxation
) -> Callable[[Arch], jax.Array]:
    """What the regulariser adds to the validation loss: ``penalty(arch) -> scalar``.

    ``eta sum over edges and ops of m^2 burden``, with m the discrete mix.

    Args:
      eta: its weight, > 0.
      space: the search space.
      relaxation: from alpha to the mix; its gradient is that of the proximal step.
    """
    shares = burden(space)

    def penalty(arch: Arch) -> jax.Array:
        mix = relaxation.weights(arch)
        terms = [jnp.sum(mix[kind] ** 2 * shares[kind]) for kind in shares]
        return eta * jnp.stack(terms).sum()

    return penalty


def derive(config: NaspConfig, space: SearchSpace, mix: MixingWeights) -> Genotype:
    """Never `none`, as in every proximal step, also where every edge is kept."""
    return derive_genotype(space, without_none(space, mix))


def build(
    config: NaspConfig, space: SearchSpace, network: Networks, **length: Unpack[Length]
) -> SearchMethod:
    """NASP on a supernet; arguments and errors as of `jdarts.methods.darts.build`.

    The weight step computes the selected ops, the architecture step all of them.
    """
    check_value("--method.eta", config.eta, config.eta >= 0, ">= 0")
    check_value("--method.start", config.start, 0 <= config.start <= 1, "0 to 1")
    if config.rank not in _RANKINGS:
        raise unknown_choice("--method.rank", config.rank, _RANKINGS)
    relaxation = discrete(space, config.start)
    if config.eta and not any(np.any(own) for own in burden(space).values()):
        raise UserError(
            f"--method.eta: {config.eta} has no effect in --space {space.name}, whose "
            "primitives have no weights of their own; expected 0, or another space"
        )
    if config.rank != "softmax" and all(
        spec.keep is None for spec in space.cells.values()
    ):
        raise UserError(
            f"--method.rank: '{config.rank}' has no effect in --space {space.name}, "
            "where every edge is kept; expected softmax, or another space"
        )

    def discretize(arch: Arch) -> Genotype:
        rank = _RANKINGS[config.rank]
        return derive(config, space, {k: rank(a) for k, a in arch.alpha.items()})

    return build_bilevel(
        config,
        space,
        network,
        relaxation,
        mixer=single_op_for_w,
        penalty=size_penalty(config.eta, space, relaxation) if config.eta else None,
        discretize=discretize,
        **length,
    )
