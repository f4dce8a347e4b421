"""Edges that compute one op only: the one that has a mixing weight.

For mixing weights of which at most one in each row is positive this is the mixture of
all ops, at the cost of a single path: `SingleSource` takes the variables of a
`MixedSource` and returns the same (ops that draw, draw other values).
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jdarts.ops import DRAWING, RNG, Separable, get_op, make_op
from jdarts.types import PyTree

__all__ = ["SingleSource"]

_Branch = Callable[[Array, dict[str, PyTree]], tuple[Array, dict[str, PyTree]]]


class SingleSource(nn.Module):
    """All edges that leave one source node, each with the op of its largest weight.

    An edge that has no positive weight, but perhaps that of `none`, computes nothing.
    Only chosen ops write running statistics and get gradients other than 0.

    Attributes:
      primitives: the candidate ops, in the column order of the mixing weights.
      stride: of every edge.
      normalise_pools: as for `make_op`.
      bias: as for `make_op`.
    """

    primitives: tuple[str, ...]
    stride: int
    normalise_pools: bool = True
    bias: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channel"],
        weights: Float[Array, "edge primitive"],
        *,
        train: bool,
    ) -> Float[Array, "edge batch out_height out_width channel"]:
        keep = train and self.is_mutable_collection("batch_stats")
        columns = [i for i, name in enumerate(self.primitives) if name != "none"]
        names = [self.primitives[i] for i in columns]
        candidates = jnp.stack([weights[:, column] for column in columns], axis=1)
        best = candidates.argmax(axis=1)
        share = jnp.take_along_axis(candidates, best[:, None], axis=1)[:, 0]
        index = jnp.where(share > 0, best + 1, 0)
        own: dict[str, Any] = {
            kind: _unpack(self.variables.get(kind, {}), names, len(weights))
            for kind in ("params", "batch_stats")
        }
        if DRAWING.intersection(names) and self.has_rng(RNG):
            own[RNG] = jax.random.split(self.make_rng(RNG), len(weights))
        options = (self.normalise_pools, self.bias)
        edges = _edges(tuple(names), x.shape[-1], self.stride, train, keep, options)
        values, stats = edges(x, index, share, own)
        if keep:
            old = self.variables.get("batch_stats", {})
            for name, value in _pack(stats, old, names, index).items():
                self.put_variable("batch_stats", name, value)
        return values


# Both functions below are made once for each kind of source and traced once for each
# shape: a network has the same ones in most of its cells.


@functools.cache
def _edges(
    names: tuple[str, ...],
    channels: int,
    stride: int,
    train: bool,
    keep: bool,
    options: tuple[bool, bool],
) -> Callable[..., tuple[Array, dict[str, PyTree]]]:
    """``edges(x, index, share, own)``: the values, and the running statistics, of all
    edges; see `_unpack` for `own`."""
    branches = [_nothing(stride)]
    branches += [
        _branch(name, channels, stride, train, keep, options) for name in names
    ]

    def edges(
        x: Array, index: Array, share: Array, own: PyTree
    ) -> tuple[Array, dict[str, PyTree]]:
        # Kept for the backward pass would be what every branch keeps, mostly zeros:
        # computing the one op again costs less.
        @jax.checkpoint
        def edge(x: Array, index: Array, share: Array, own: PyTree) -> Any:
            y, stats = lax.switch(index, branches, x, own)
            return share.astype(y.dtype) * y, stats

        return lax.map(lambda inputs: edge(x, *inputs), (index, share, own))

    return jax.jit(edges)


def _nothing(stride: int) -> _Branch:
    def branch(x: Array, own: dict[str, PyTree]) -> tuple[Array, PyTree]:
        batch, *sides, channels = x.shape
        shape = (batch, *(-(-side // stride) for side in sides), channels)
        return jnp.zeros(shape, x.dtype), own["batch_stats"]

    return branch


@functools.cache
def _branch(
    name: str,
    channels: int,
    stride: int,
    train: bool,
    keep: bool,
    options: tuple[bool, bool],
) -> _Branch:
    """One op on one edge, and the running statistics of all ops after it."""
    normalise_pools, bias = options
    op = make_op(
        name,
        edges=1,
        channels=channels,
        stride=stride,
        normalise_pools=normalise_pools,
        bias=bias,
    )
    assert op is not None
    op = op.clone(parent=None)

    @jax.jit
    def run(x: Array, variables: PyTree, rngs: PyTree) -> tuple[Array, PyTree]:
        mutable = ["batch_stats"] if keep else []
        y, changed = op.apply(variables, x, train=train, mutable=mutable, rngs=rngs)
        return y[0].astype(x.dtype), changed

    def branch(x: Array, own: dict[str, PyTree]) -> tuple[Array, PyTree]:
        variables = {
            kind: own[kind].get(name, {}) for kind in ("params", "batch_stats")
        }
        rngs = {RNG: own[RNG]} if RNG in own and name in DRAWING else {}
        y, changed = run(x, variables, rngs)
        stats = own["batch_stats"]
        if keep and name in stats:
            stats = {**stats, name: changed["batch_stats"]}
        return y, stats

    return branch


def _groups(names: list[str]) -> dict[str, list[str]]:
    """The separable ops that a `MixedSource` computes together, by module name."""
    groups: dict[str, list[str]] = {}
    for name in names:
        row = get_op(name)
        if isinstance(row, Separable):
            groups.setdefault(f"separable_{len(row.kernels)}", []).append(name)
    return groups


def _unpack(variables: PyTree, names: list[str], edges: int) -> dict[str, PyTree]:
    """A source's variables by op, each as `make_op` has them for one edge.

    Args:
      variables: one collection of a `MixedSource`'s.
      names: of the ops, without `none`.
      edges: number of edges.

    Returns:
      Op to its variables, ``[edge, 1, ...]``.
    """
    found = {}
    for name in names:
        if name in variables:
            found[name] = jax.tree.map(
                lambda a: jnp.broadcast_to(a, (edges, *a.shape[1:]))[:, None],
                variables[name],
            )
    for group, members in _groups(names).items():
        for place, name in enumerate(members):
            found[name] = {"ops": {}}
            rows = slice(place * edges, (place + 1) * edges)
            for key, value in variables.get(group, {}).items():
                if key.startswith(("pointwise", "bn")):
                    part = jax.tree.map(lambda a, rows=rows: a[rows, None], value)
                    found[name]["ops"][key] = part
                elif key.startswith(f"{name}_depthwise"):
                    stage = key.removeprefix(name)
                    found[name]["ops"][f"conv{stage}"] = value[:, None]
    return found


def _pack(
    stats: dict[str, PyTree], old: PyTree, names: list[str], index: Array
) -> dict[str, Any]:
    """The running statistics as a `MixedSource` has them.

    Args:
      stats: as `_unpack` returns them, after the step.
      old: a `MixedSource`'s, before it.
      names: of the ops.
      index: ``[edge]``: the number of each edge's op, from 1 on; 0 for none.
    """
    groups = _groups(names)
    together = {name for members in groups.values() for name in members}
    found: dict[str, Any] = {}
    for group, members in groups.items():
        parts = [jax.tree.map(lambda a: a[:, 0], stats[n]["ops"]) for n in members]
        found[group] = jax.tree.map(lambda *a: jnp.concatenate(a), *parts)
    for name in stats.keys() - together:
        # Of an op without parameters, which all edges share: of one that chose it.
        chosen = jnp.argmax(index == names.index(name) + 1)
        found[name] = jax.tree.map(
            lambda new, old, c=chosen: new[c] if len(old) == 1 else new[:, 0],
            stats[name],
            old[name],
        )
    return found
