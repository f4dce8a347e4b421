"""Random cells: nothing is learnt about the architecture."""

import jax
import jax.numpy as jnp

from jdarts.relaxation.base import Relaxation
from jdarts.spaces import CellSpec, SearchSpace
from jdarts.types import Arch, Now

__all__ = ["uniform"]


def uniform(space: SearchSpace) -> Relaxation:
    """Mixing weights of a cell drawn uniformly, as by `jdarts.spaces.random`.

    Without a step those of the cell that alpha holds: 1 where alpha is positive.

    Args:
      space: the search space.
    """

    def draw(key: jax.Array) -> dict[str, jax.Array]:
        kinds = sorted(space.cells.items())
        keys = jax.random.split(key, len(kinds))
        return {k: _cell(own, spec) for own, (k, spec) in zip(keys, kinds, strict=True)}

    def init(key: jax.Array, space: SearchSpace) -> Arch:
        tiny = jnp.finfo(jnp.result_type(float)).tiny
        return Arch(jax.tree.map(lambda mix: tiny * mix, draw(key)), {})

    def weights(arch: Arch, now: Now | None = None) -> dict[str, jax.Array]:
        if now is not None:
            return draw(now.key)
        return jax.tree.map(lambda a: (a > 0).astype(a.dtype), arch.alpha)

    return Relaxation(init, weights, project=lambda arch: arch)


def _cell(key: jax.Array, spec: CellSpec) -> jax.Array:
    """One op on each kept edge, ``[edges, primitives]``."""
    op_key, edge_key = jax.random.split(key)
    allowed = [
        i for i, n in enumerate(spec.primitives) if n != "none" or spec.keep is None
    ]
    ops = jax.random.choice(op_key, jnp.array(allowed), (len(spec.edges),))
    kept = []
    for rows, own in zip(
        spec.node_slices, jax.random.split(edge_key, spec.nodes), strict=True
    ):
        count = rows.stop - rows.start
        ranks = jax.random.permutation(own, count)
        kept.append(ranks < (spec.keep or count))
    mix = jax.nn.one_hot(ops, len(spec.primitives), dtype=jnp.result_type(float))
    return jnp.concatenate(kept)[:, None] * mix
