"""A softmax over the primitives that are left, for methods that give some up."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from jdarts.relaxation.base import Relaxation
from jdarts.relaxation.softmax import softmax
from jdarts.spaces import SearchSpace
from jdarts.types import AnyArray, Arch, Now, PyTree

__all__ = [
    "Held",
    "Prune",
    "kept_ranks",
    "kept_softmax",
    "offered_softmax",
    "pruned_softmax",
    "settle_by_epoch",
]


class Held(NamedTuple):
    """What `Arch.held` is in a search that prunes.

    Attributes:
      kept: cell type to the primitives that each edge has, ``[edges, primitives]``, of
        bool. A row of one is a decided edge, a row of none an edge that is cut.
      temperature: of the softmax, > 0.
      memory: what else the method's next decision needs.
    """

    kept: dict[str, jax.Array]
    temperature: jax.Array
    memory: PyTree = ()


Prune = Callable[[Arch, jax.Array], Held]
"""``prune(arch, epoch) -> held`` after so many epochs, 1 after the first."""


def pruned_softmax(
    init_scale: float = 1e-3, temperature: float = 1.0, memory: PyTree = ()
) -> Relaxation:
    """``softmax(alpha / temperature)`` over the primitives that an edge keeps.

    Nothing is pruned at the start. The weight of a pruned primitive is 0, that of an
    edge's only one 1, both exactly and with derivative 0.

    Args:
      init_scale: standard deviation of alpha at the start.
      temperature: at the start, > 0.
      memory: at the start; arrays.
    """
    soft = softmax(init_scale)

    def init(key: jax.Array, space: SearchSpace) -> Arch:
        arch = soft.init(key, space)
        kept = {kind: jnp.ones(alpha.shape, bool) for kind, alpha in arch.alpha.items()}
        start = jnp.asarray(temperature, jnp.result_type(float))
        # Copies: the state is donated, each array once.
        own = jax.tree.map(jnp.copy, memory)
        return arch._replace(held=Held(kept, start, own))

    def weights(arch: Arch, now: Now | None = None) -> dict[str, jax.Array]:
        held: Held = arch.held
        return {
            kind: kept_softmax(alpha / held.temperature, held.kept[kind])
            for kind, alpha in arch.alpha.items()
        }

    def ranks(arch: Arch) -> dict[str, jax.Array]:
        held: Held = arch.held
        return {
            kind: kept_ranks(alpha / held.temperature, held.kept[kind])
            for kind, alpha in arch.alpha.items()
        }

    return Relaxation(init, weights, project=lambda arch: arch, ranks=ranks)


def offered_softmax(space: SearchSpace, init_scale: float = 1e-3) -> Relaxation:
    """The softmax of each edge over the primitives that it has in the space.

    The others have alpha and weight 0, exactly and with derivative 0.

    Args:
      space: with `CellSpec.edge_primitives` or without.
      init_scale: standard deviation of alpha at the start.
    """
    soft = softmax(init_scale)
    offered = {kind: np.array(spec.offered) for kind, spec in space.cells.items()}

    def init(key: jax.Array, space: SearchSpace) -> Arch:
        arch = soft.init(key, space)
        alpha = {k: jnp.where(offered[k], a, 0) for k, a in arch.alpha.items()}
        return arch._replace(alpha=alpha)

    def weights(arch: Arch, now: Now | None = None) -> dict[str, jax.Array]:
        return {k: kept_softmax(a, offered[k]) for k, a in arch.alpha.items()}

    return Relaxation(init, weights, project=lambda arch: arch)


def kept_softmax(
    logits: Float[AnyArray, "edge primitive"], kept: Bool[AnyArray, "edge primitive"]
) -> Float[Array, "edge primitive"]:
    """Each row's softmax over its kept entries; 0 elsewhere, and where none is kept."""
    empty = ~kept.any(axis=1, keepdims=True)
    # An empty row first keeps all: a softmax of infinities is not a number.
    soft = jax.nn.softmax(jnp.where(kept | empty, logits, -jnp.inf), axis=1)
    return jnp.where(empty, 0, soft)


def kept_ranks(
    logits: Float[AnyArray, "edge primitive"], kept: Bool[AnyArray, "edge primitive"]
) -> Float[Array, "edge primitive"]:
    """An order of an edge's primitives, and of edges, where weights are one-hot or 0.

    softmax(logits) plus 1 for what a decided edge keeps, minus 1 for what an edge has
    given up, minus 2 on an edge that is cut: a decided edge goes before an undecided
    one, and its runner-up before a cut edge.
    """
    count = kept.sum(axis=1, keepdims=True)
    given_up = jnp.where(count > 0, -1, -2)
    level = jnp.where(kept, jnp.where(count == 1, 1, 0), given_up)
    return level + jnp.where(
        kept & (count > 1), kept_softmax(logits, kept), jax.nn.softmax(logits, axis=1)
    )


def settle_by_epoch(
    prune: Prune, steps_per_epoch: int
) -> Callable[[Arch, Arch, jax.Array], Arch]:
    """What follows each step of the architecture in a search that prunes.

    The alpha of an edge that has no choice left stays as it is, and after the last step
    of an epoch `prune` decides. What is pruned never comes back.

    Args:
      prune: from an architecture and the number of epochs done to what is held.
      steps_per_epoch: >= 1.

    Returns:
      ``settle(before, after, steps) -> arch``: the architectures before and after the
      step, and the number of steps done.
    """

    def settle(before: Arch, after: Arch, steps: jax.Array) -> Arch:
        held: Held = before.held
        alpha = {
            kind: jnp.where(held.kept[kind].sum(1, keepdims=True) > 1, new, old)
            for (kind, new), old in zip(
                after.alpha.items(), before.alpha.values(), strict=True
            )
        }
        arch = after._replace(alpha=alpha)

        def decide() -> Held:
            found = prune(arch, steps // steps_per_epoch)
            kept = jax.tree.map(jnp.logical_and, held.kept, found.kept)
            return found._replace(kept=kept)

        ended = steps % steps_per_epoch == 0
        return arch._replace(held=lax.cond(ended, decide, lambda: held))

    return settle
