"""Edges that each have their own primitives: what an edge lacks is not computed."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jdarts.ops import Identity, Separable, UnevenSeparableOps, get_op
from jdarts.ops.blend import blend
from jdarts.ops.fence import fence

__all__ = ["UnevenSource"]


class UnevenSource(nn.Module):
    """All edges that leave one source node, each the mixture of its own primitives.

    As a `MixedSource` whose other mixing weights are 0, without their ops: an edge has
    weights for its own ones only. What all edges share (pools, identities) is computed
    once if any of them has it.

    Attributes:
      primitives: the candidate ops, in the column order of the mixing weights.
      offered: for each edge and primitive, whether the edge has it.
      stride: of every edge.
      normalise_pools: as for `make_op`.
      bias: as for `make_op`.
    """

    primitives: tuple[str, ...]
    offered: tuple[tuple[bool, ...], ...]
    stride: int
    normalise_pools: bool = True
    bias: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channel"],
        weights: Float[Array, "edge primitive"],
        drop: Callable[[Array, int], Array] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "edge batch out_height out_width channel"]:
        """As `MixedSource`."""
        dtype, separable, values, shares = x.dtype, {}, [], []
        for column, name in enumerate(self.primitives):
            row, own = get_op(name), self._edges_of(column)
            if row is None or not own:
                continue
            if isinstance(row, Separable):
                separable.setdefault(len(row.kernels), []).append((name, row))
                continue
            op = row(
                edges=len(own),
                channels=x.shape[-1],
                stride=self.stride,
                affine=False,
                normalise_pools=self.normalise_pools,
                bias=self.bias,
                name=name,
            )
            value = op(x, train=train)
            if drop is not None and isinstance(op, Identity):
                value = drop(value, len(own))
            values.append(value)
            shares.append(self._share(weights, column, own, len(value)))
        terms = [
            self._separable(x, weights, stages, ops, train)
            for stages, ops in sorted(separable.items())
        ]
        if values:
            share = jnp.concatenate(shares, axis=1).astype(dtype)
            terms = [blend(share, values, terms)]
        if not terms:  # nothing but `none`
            sides = (-(-side // self.stride) for side in x.shape[1:3])
            shape = (len(weights), len(x), *sides, x.shape[-1])
            return jnp.zeros(shape, dtype)
        return fence(sum(terms[1:], terms[0]).astype(dtype))

    def _edges_of(self, column: int) -> list[int]:
        return [edge for edge, has in enumerate(self.offered) if has[column]]

    def _share(self, weights: Array, column: int, own: list[int], rows: int) -> Array:
        """``[edge, row]``: what each edge gets of an op's values: of the one that all
        share, or of its own one."""
        edges = range(len(self.offered))
        if rows == 1:
            place = [[float(edge in own)] for edge in edges]
        else:
            place = [[float(edge == e) for e in own] for edge in edges]
        return jnp.array(place, weights.dtype) * weights[:, column, None]

    def _separable(
        self,
        x: Array,
        weights: Array,
        stages: int,
        ops: list[tuple[str, Separable]],
        train: bool,
    ) -> Array:
        """The sum of the edges' separable ops of so many stages."""
        columns = [self.primitives.index(name) for name, _ in ops]
        names = [
            tuple(self.primitives[c] for c in columns if has[c]) for has in self.offered
        ]
        module = UnevenSeparableOps(
            tuple(names), tuple(ops), self.stride, name=f"separable_{stages}"
        )
        share = jnp.stack([weights[:, column] for column in columns], axis=1)
        return module(x, share, train=train)
