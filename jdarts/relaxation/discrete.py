"""The discrete relaxation of NASP: proximal steps between two constraint sets."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jdarts.relaxation.base import Relaxation, straight_through
from jdarts.spaces import CellSpec, SearchSpace
from jdarts.types import AnyArray, Arch, Now

__all__ = ["discrete", "keep_one_op"]


def discrete(space: SearchSpace, start: float = 0.5) -> Relaxation:
    """Mixing weights 0 and 1, and a box for the parameters behind them.

    Yao, Xu, Tu, Zhu, 'NASP', AAAI 2020: the constraints are C1, one op on each kept
    edge, and C2, the box [0, 1]. A pass takes place at ``prox_C1(alpha)``, see
    `keep_one_op`; its gradient there moves the continuous alpha (algorithm 2), which
    is then projected onto the box. So the derivative of the weights in alpha is the
    identity.

    Args:
      space: the search space.
      start: every alpha at the start, in [0, 1]; the authors' code has 0.5.
    """

    def init(key: jax.Array, space: SearchSpace) -> Arch:
        del key  # nothing is random
        alpha = {
            kind: start * jnp.ones((len(spec.edges), len(spec.primitives)))
            for kind, spec in space.cells.items()
        }
        return Arch(alpha=alpha, beta={})

    def weights(arch: Arch, now: Now | None = None) -> dict[str, jax.Array]:
        mix = {}
        for kind, spec in space.cells.items():
            alpha = arch.alpha[kind]
            one_op = keep_one_op(spec, jax.lax.stop_gradient(alpha))
            mix[kind] = straight_through(alpha, one_op)
        return mix

    def project(arch: Arch) -> Arch:
        return arch._replace(
            alpha=jax.tree.map(lambda alpha: jnp.clip(alpha, 0, 1), arch.alpha)
        )

    return Relaxation(init, weights, project)


def keep_one_op(
    spec: CellSpec, alpha: Float[AnyArray, "edge primitive"]
) -> Float[Array, "edge primitive"]:
    """``prox_C1``: 1 for the largest entry of each kept edge's row, 0 elsewhere.

    A node keeps the ``spec.keep`` edges (None: all) whose largest entries are largest.
    Ties go to the earlier primitive and to the lower source. `none` is never kept: it
    is what an edge is that a node does not keep.

    Args:
      spec: the cell type.
      alpha: its parameters.
    """
    none = jnp.array([name == "none" for name in spec.primitives])
    candidates = jnp.where(none, -jnp.inf, alpha)
    strength, kept = candidates.max(axis=1), []
    for rows in spec.node_slices:
        ranks = jnp.argsort(jnp.argsort(-strength[rows], stable=True))
        kept.append(ranks < (spec.keep or len(ranks)))
    ops = jax.nn.one_hot(candidates.argmax(axis=1), len(none), dtype=alpha.dtype)
    return jnp.concatenate(kept)[:, None] * ops
