"""The mixed cell: every edge is the weighted sum of its candidate ops."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jdarts.lazy import LazyModule
from jdarts.nets.partial import ALL_CHANNELS, PartialChannels, halve
from jdarts.nets.paths import DropRates, drop_elements, path_masks
from jdarts.nets.single import SingleSource
from jdarts.nets.uneven import UnevenSource
from jdarts.ops import Identity, Separable, SeparableOps, get_op
from jdarts.ops.blend import blend
from jdarts.ops.conv import FactorizedReduce, ReLUConvBN
from jdarts.ops.fence import fence
from jdarts.spaces import CellSpec

if TYPE_CHECKING:
    import chex
else:
    chex = LazyModule("chex")

__all__ = ["MixedCell", "MixedSource"]

# Parts of a cell's key; 0 and 1 are for the order of its channels.
_PATHS, _SKIPS = 2, 3

_Drop = Callable[[Array, int], Array]  # ``drop(x, edges)``: see `drop_elements`


class MixedSource(nn.Module):
    """All edges that leave one source node, each the mixture of all primitives.

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
        drop: _Drop | None = None,
        *,
        train: bool,
    ) -> Float[Array, "edge batch out_height out_width channel"]:
        """The values of all edges.

        Args:
          x: the source.
          weights: mixing weights.
          drop: what becomes of an identity's value, and on so many edges.
          train: whether normalisers use the batch's statistics.
        """
        edges, dtype = weights.shape[0], x.dtype
        separable, per_edge, shared = [], [], []
        for column, name in enumerate(self.primitives):
            row = get_op(name)
            if isinstance(row, Separable):
                separable.append((column, name, row))
            elif row is not None:
                op = row(
                    edges=edges,
                    channels=x.shape[-1],
                    stride=self.stride,
                    affine=False,
                    normalise_pools=self.normalise_pools,
                    bias=self.bias,
                    name=name,
                )
                value = op(x, train=train)
                if drop is not None and isinstance(op, Identity):
                    value = drop(value, edges)
                (per_edge if len(value) == edges > 1 else shared).append(
                    (column, value)
                )
        terms = [_share(weights, column, dtype) * value for column, value in per_edge]
        terms += self._separable(x, weights, separable, train)
        if shared:
            columns, values = zip(*shared, strict=True)
            share = _columns(weights, columns).astype(dtype)
            terms = [blend(share.T, values, terms)]
        return fence(functools.reduce(jnp.add, terms).astype(dtype))

    def _separable(
        self,
        x: Array,
        weights: Array,
        found: list[tuple[int, str, Separable]],
        train: bool,
    ) -> list[Array]:
        """The weighted separable ops, as terms ``[edge, batch, ...]``."""
        terms = []
        for stages in sorted({len(op.kernels) for _, _, op in found}):
            chosen = [row for row in found if len(row[2].kernels) == stages]
            ops = tuple((name, op) for _, name, op in chosen)
            module = SeparableOps(
                len(weights), ops, self.stride, name=f"separable_{stages}"
            )
            share = _columns(weights, [column for column, _, _ in chosen])
            terms.append(module(x, share, train=train))
        return terms


def _columns(weights: Array, columns: Sequence[int]) -> Array:
    """Those columns of the mixing weights, ``[column, edge]``."""
    return jnp.stack([weights[:, column] for column in columns])


def _share(weights: Array, column: int, dtype: jnp.dtype) -> Array:
    """``[edge, 1, 1, 1, 1]``, to be multiplied by values of that type.

    In float32 at least: a share's gradient is a sum over the whole batch.
    """
    wide = jnp.promote_types(dtype, jnp.float32)
    return weights[:, column, None, None, None, None].astype(wide)


class MixedCell(nn.Module):
    """One cell of a supernet.

    Attributes:
      spec: the cell type.
      channels: width of every node.
      reduce_first: whether input 0 is twice as large as input 1, because the cell
        before the previous one was followed by a reduction.
      train: whether normalisers use the batch's statistics.
      partial: which channels go through the ops.
      single: whether each edge computes one op only; see `SingleSource`.
    """

    spec: CellSpec
    channels: int
    reduce_first: bool
    train: bool
    partial: PartialChannels = ALL_CHANNELS
    single: bool = False

    @nn.compact
    def __call__(
        self,
        inputs: tuple[Array, ...],
        weights: Float[Array, "edge primitive"],
        key: Array | None = None,
        drop_rate: DropRates | None = None,
    ) -> Float[Array, "batch height width channels"]:
        spec, partial = self.spec, self.partial
        # An index beyond the last row would silently be that of the last.
        chex.assert_shape(weights, (len(spec.edges), len(spec.primitives)))
        rates = DropRates() if key is None or drop_rate is None else drop_rate
        kept = self._kept(inputs[0], key, rates.path)
        values = [fence(value) for value in self._adapt(inputs)]
        order = partial.order(key, self.channels)
        arriving: dict[int, list[Array]] = {node: [] for node in spec.intermediate}
        passed: dict[int, list[Array]] = {node: [] for node in spec.intermediate}
        by_source = sorted(range(len(spec.edges)), key=lambda e: spec.edges[e][0])
        weights, start = weights[jnp.array(by_source)], 0
        for source in range(spec.inputs + spec.nodes - 1):
            rows = [e for e in by_source if spec.edges[e][0] == source]
            own = weights[start : start + len(rows)]
            start += len(rows)
            ahead, rest = partial.split(values[source], order)
            drop = self._drop(source, key, rates.skip)
            out = self._edges(source, rows, ahead, own, drop)
            parts = lax.split(out, [1] * len(rows))  # transposed: one concatenation
            for row, value in zip(rows, parts, strict=True):
                arriving[spec.edges[row][1]].append(kept(row, value[0]))
            if rest is not None:
                rest = halve(rest) if self._stride(source) == 2 else rest
                for row, total in zip(rows, own.sum(axis=1), strict=True):
                    value = total.astype(rest.dtype) * rest
                    passed[spec.edges[row][1]].append(kept(row, value))
            target = source + 1
            if target in arriving:  # every edge into that node has been computed
                value = partial.join(arriving[target], passed[target], order)
                values.append(fence(value))
        return jnp.concatenate([values[node] for node in spec.concat], axis=-1)

    def _kept(
        self, x: Array, key: Array | None, rate: Array | None
    ) -> Callable[[int, Array], Array]:
        """Drop path: what is left of an edge's value; all of it without a rate.

        Each image loses each edge, mixture and passed channels together, by itself.
        """
        if key is None or rate is None:
            return lambda row, value: value
        shape = (1, len(self.spec.edges), len(x))
        masks = path_masks(jax.random.fold_in(key, _PATHS), rate, shape)[0]

        def kept(row: int, value: Array) -> Array:
            return masks[row, :, None, None, None].astype(value.dtype) * value

        return kept

    def _adapt(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Two inputs to the cell's width; a single one stays as it is."""
        if len(inputs) == 1:
            return inputs
        if self.reduce_first:
            adapter = FactorizedReduce(1, self.channels, name="input_0")
            first = adapter(inputs[0], train=self.train)[0]
        else:
            adapter = ReLUConvBN(self.channels, name="input_0")
            first = adapter(inputs[0], train=self.train)
        adapter = ReLUConvBN(self.channels, name="input_1")
        return first, adapter(inputs[1], train=self.train)

    def _drop(self, source: int, key: Array | None, rate: Array | None) -> _Drop | None:
        """What drops elements of the identities that leave a source, if anything."""
        if key is None or rate is None:
            return None
        own = jax.random.fold_in(jax.random.fold_in(key, _SKIPS), source)
        return functools.partial(drop_elements, own, rate)

    def _edges(
        self, source: int, rows: list[int], x: Array, weights: Array, drop: _Drop | None
    ) -> Array:
        """The values that the edges leaving a source bring; `rows` are the edges."""
        spec, name = self.spec, f"source_{source}"
        options = (self._stride(source), spec.normalise_pools, spec.bias)
        if spec.edge_primitives is not None:
            offered = tuple(spec.offered[row] for row in rows)
            uneven = UnevenSource(spec.primitives, offered, *options, name=name)
            return uneven(x, weights, drop, train=self.train)
        if self.single:
            single = SingleSource(spec.primitives, *options, name=name)
            return single(x, weights, train=self.train)
        mixed = MixedSource(spec.primitives, *options, name=name)
        return mixed(x, weights, drop, train=self.train)

    def _stride(self, source: int) -> int:
        return self.spec.stride if source < self.spec.inputs else 1
