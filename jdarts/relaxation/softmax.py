"""The continuous relaxation of DARTS."""

import jax

from jdarts.relaxation.base import Relaxation
from jdarts.spaces import SearchSpace
from jdarts.types import Arch

__all__ = ["softmax"]


def softmax(init_scale: float = 1e-3) -> Relaxation:
    """``weights[e, o] = exp(alpha[e, o]) / sum over o' of exp(alpha[e, o'])``.

    Liu et al., 'DARTS', ICLR 2019, equation (2). No projection.

    Args:
      init_scale: standard deviation of the normal distribution that alpha starts from;
        the paper says zeros, its code 1e-3.
    """

    def init(key: jax.Array, space: SearchSpace) -> Arch:
        keys = jax.random.split(key, len(space.cells))
        alpha = {
            kind: init_scale
            * jax.random.normal(k, (len(spec.edges), len(spec.primitives)))
            for k, (kind, spec) in zip(keys, sorted(space.cells.items()), strict=True)
        }
        return Arch(alpha=alpha, beta={})

    def weights(arch: Arch) -> dict[str, jax.Array]:
        return jax.tree.map(lambda alpha: jax.nn.softmax(alpha, axis=-1), arch.alpha)

    return Relaxation(init, weights, project=lambda arch: arch)
