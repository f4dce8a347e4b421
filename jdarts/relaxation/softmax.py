"""The continuous relaxations of DARTS and of PC-DARTS."""

import jax
import jax.numpy as jnp

from jdarts.relaxation.base import Relaxation, normal_alpha
from jdarts.spaces import SearchSpace
from jdarts.types import Arch, Now

__all__ = ["edge_softmax", "softmax"]


def softmax(init_scale: float = 1e-3) -> Relaxation:
    """``weights[e, o] = exp(alpha[e, o]) / sum over o' of exp(alpha[e, o'])``.

    Liu et al., 'DARTS', ICLR 2019, equation (2). No projection.

    Args:
      init_scale: standard deviation of the normal distribution that alpha starts from;
        the paper says zeros, its code 1e-3.
    """

    def init(key: jax.Array, space: SearchSpace) -> Arch:
        return Arch(alpha=normal_alpha(key, space, init_scale), beta={})

    def weights(arch: Arch, now: Now | None = None) -> dict[str, jax.Array]:
        return jax.tree.map(lambda alpha: jax.nn.softmax(alpha, axis=-1), arch.alpha)

    return Relaxation(init, weights, project=lambda arch: arch)


def edge_softmax(space: SearchSpace, init_scale: float = 1e-3) -> Relaxation:
    """Edge normalisation: `softmax`, times the edge's share among those into its node.

        weights[e, o] = softmax(alpha[e])[o] * exp(beta[e]) / sum of exp(beta[e'])

    over the edges e' that enter the same node. Xu et al., 'PC-DARTS', ICLR 2020,
    equations (2) and (3). No projection.

    Args:
      space: the search space.
      init_scale: standard deviation of the normal distribution that alpha and beta
        start from.
    """
    ops = softmax(init_scale)

    def init(key: jax.Array, space: SearchSpace) -> Arch:
        alpha_key, beta_key = jax.random.split(key)
        keys = jax.random.split(beta_key, len(space.cells))
        beta = {
            kind: init_scale * jax.random.normal(k, (len(spec.edges),))
            for k, (kind, spec) in zip(keys, sorted(space.cells.items()), strict=True)
        }
        return ops.init(alpha_key, space)._replace(beta=beta)

    def weights(arch: Arch, now: Now | None = None) -> dict[str, jax.Array]:
        mix = ops.weights(arch, now)
        for kind, spec in space.cells.items():
            parts = [jax.nn.softmax(arch.beta[kind][rows]) for rows in spec.node_slices]
            mix[kind] = mix[kind] * jnp.concatenate(parts)[:, None]
        return mix

    return Relaxation(init, weights, project=lambda arch: arch)
