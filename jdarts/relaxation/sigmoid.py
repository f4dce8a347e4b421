"""The relaxation of Fair DARTS: ops do not compete."""

import jax
import jax.numpy as jnp

from jdarts.relaxation.base import Relaxation
from jdarts.spaces import SearchSpace
from jdarts.types import Arch, Now

__all__ = ["sigmoid"]


def sigmoid() -> Relaxation:
    """``weights[e, o] = 1 / (1 + exp(-alpha[e, o]))``; alpha starts at 0.

    Chu, Zhou, Zhang, Li, 'Fair DARTS', ECCV 2020, equation (3). No projection.
    """

    def init(key: jax.Array, space: SearchSpace) -> Arch:
        del key  # nothing is random
        return Arch(
            {
                kind: jnp.zeros((len(spec.edges), len(spec.primitives)))
                for kind, spec in space.cells.items()
            },
            {},
        )

    def weights(arch: Arch, now: Now | None = None) -> dict[str, jax.Array]:
        return jax.tree.map(jax.nn.sigmoid, arch.alpha)

    return Relaxation(init, weights, project=lambda arch: arch)
