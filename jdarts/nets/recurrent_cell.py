"""Recurrent cells: the mixture of a search, and derived ones.

A cell maps ``s_0``, made of the word and the state before, to the next state. Every
node i has one matrix, whatever it reads: with ``[c | q] = s_j W_i``,

    s_ij = s_j + sigmoid(c) (f(q) - s_j),

a highway connection (Liu et al., 'DARTS', ICLR 2019, appendix A.1.2, and its code).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jdarts.lazy import LazyModule
from jdarts.ops.fence import fence
from jdarts.ops.recompute import recomputed
from jdarts.spaces import CellGenotype, CellSpec

if TYPE_CHECKING:
    import chex
else:
    chex = LazyModule("chex")

__all__ = ["ACTIVATIONS", "Normaliser", "RecurrentCell", "fixed_cell", "mixed_cell"]

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "identity": lambda x: x,
}
"""The primitives of recurrent cells; `none` is not one of them, and adds 0."""

State = Float[Array, "batch unit"]
Normaliser = Callable[[State, Any], tuple[State, Any]]
"""``normalise(state, statistics) -> (state, statistics)``."""


class RecurrentCell(NamedTuple):
    """What comes after ``s_0`` in a time step.

    Attributes:
      nodes: number of matrices.
      normalised: whether states are normalised, ``s_0`` too.
      arrange: ``arrange(matrices, mix)``, done once for all time steps: `matrices` are
        ``[nodes, unit, 2 unit]``, `mix` is ``[edge, primitive]``.
      step: ``step(arranged, s_0, mask, normalise, statistics) -> (state,
        statistics)``: `mask` multiplies every state before a matrix does, None: nothing
        does.
    """

    nodes: int
    normalised: bool
    arrange: Callable[[jax.Array, Any], Any]
    step: Callable[..., tuple[State, Any]]


class _Leaving(NamedTuple):
    """What leads from one state to all later nodes.

    Gates and values apart: their gradients are then two arrays, and XLA
    need not compute both for each element of one.

    Attributes:
      gates: those halves of the matrices side by side, ``[unit, target unit]``.
      values: the other halves.
      shares: mixing weights, ``[target, primitive]``.
    """

    gates: jax.Array
    values: jax.Array
    shares: jax.Array


def mixed_cell(spec: CellSpec) -> RecurrentCell:
    """All activations on all edges; the output is the mean of all nodes.

        s_i = norm(sum over j < i and f of p_ij(f) (s_j + sigmoid(c) (f(q) - s_j)))

    The work is ordered by source: one product gives a state's share in all later nodes.
    """
    edges = {edge: row for row, edge in enumerate(spec.edges)}
    columns = spec.op_columns
    functions = [ACTIVATIONS[spec.primitives[i]] for i in columns]

    def arrange(
        matrices: Float[Array, "node unit double"], mix: Float[Array, "edge primitive"]
    ) -> list[_Leaving]:
        # An index beyond the last row would silently be that of the last.
        chex.assert_shape(mix, (len(spec.edges), len(spec.primitives)))
        arranged = []
        for source in range(spec.nodes):
            rows = [edges[source, t] for t in range(source + 1, spec.nodes + 1)]
            shares = mix[jnp.array(rows)][:, jnp.array(columns)]
            gates, values = jnp.split(matrices[source:], 2, axis=-1)
            arranged.append(
                _Leaving(_side_by_side(gates), _side_by_side(values), shares)
            )
        return arranged

    # Computed again from the products: of the many values of an edge only those two
    # are kept.
    @recomputed
    def add(
        gate: Float[Array, "batch many"],
        value: Float[Array, "batch many"],
        state: State,
        shares: Float[Array, "target primitive"],
    ) -> Float[Array, "batch target unit"]:
        """What a state adds to all later nodes."""
        shape = len(state), len(shares), -1
        gate, value = jax.nn.sigmoid(gate.reshape(shape)), value.reshape(shape)
        parts = zip(functions, shares.T[:, :, None], strict=True)
        mixed = sum(p * f(value) for f, p in parts)
        kept = shares.sum(axis=1)[:, None] * state[:, None]
        return fence(kept + gate * (mixed - kept))

    def step(
        arranged: list[_Leaving],
        state: State,
        mask: State | None,
        normalise: Normaliser,
        statistics: Any,
    ) -> tuple[State, Any]:
        total, rest = jnp.zeros_like(state), None
        for gates, values, shares in arranged:
            read = _masked(state, mask)
            added = add(read @ gates, read @ values, state, shares)
            sums = added if rest is None else rest + added
            state, statistics = normalise(sums[:, 0], statistics)
            # XLA:CPU would otherwise compute all nodes before in each of their readers.
            state = fence(state)
            rest = fence(sums[:, 1:])
            total = total + state
        return total / spec.nodes, statistics

    return RecurrentCell(spec.nodes, True, arrange, step)


def fixed_cell(genotype: CellGenotype) -> RecurrentCell:
    """The chosen connections: each node reads one state; nothing is normalised."""

    def step(
        matrices: Float[Array, "node unit double"],
        state: State,
        mask: State | None,
        normalise: Normaliser,
        statistics: Any,
    ) -> tuple[State, Any]:
        del normalise
        states = [state]
        for matrix, ((name, source),) in zip(matrices, genotype.nodes, strict=True):
            before = states[source]
            product = _masked(before, mask) @ matrix
            gate, value = jnp.split(product, 2, axis=-1)
            mixed = ACTIVATIONS[name](value) - before
            states.append(before + jax.nn.sigmoid(gate) * mixed)
        joined = [states[node] for node in genotype.concat]
        return jnp.stack(joined).mean(axis=0), statistics

    return RecurrentCell(
        len(genotype.nodes), False, lambda matrices, mix: matrices, step
    )


def _masked(state: State, mask: State | None) -> State:
    return state if mask is None else state * mask


def _side_by_side(
    matrices: Float[Array, "node unit unit"],
) -> Float[Array, "unit many"]:
    return matrices.transpose(1, 0, 2).reshape(matrices.shape[1], -1)
