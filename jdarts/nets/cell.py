"""The mixed cell: every edge is the weighted sum of its candidate ops."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jdarts.ops import make_op
from jdarts.ops.conv import FactorizedReduce, ReLUConvBN
from jdarts.ops.fence import fence
from jdarts.spaces import CellSpec

__all__ = ["MixedCell", "MixedSource"]


class MixedSource(nn.Module):
    """All edges that leave one source node, each the mixture of all primitives.

    Attributes:
      primitives: the candidate ops, in the column order of the mixing weights.
      stride: of every edge.
    """

    primitives: tuple[str, ...]
    stride: int

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channel"],
        weights: Float[Array, "edge primitive"],
        *,
        train: bool,
    ) -> Float[Array, "edge batch out_height out_width channel"]:
        edges, total = weights.shape[0], None
        for column, name in enumerate(self.primitives):
            op = make_op(name, edges=edges, channels=x.shape[-1], stride=self.stride)
            if op is None:
                continue
            share = weights[:, column, None, None, None, None].astype(x.dtype)
            term = share * op(x, train=train)
            total = term if total is None else total + term
        return total


class MixedCell(nn.Module):
    """One cell of a supernet.

    Attributes:
      spec: the cell type.
      channels: width of every node.
      reduce_first: whether input 0 is twice as large as input 1, because the cell
        before the previous one was followed by a reduction.
    """

    spec: CellSpec
    channels: int
    reduce_first: bool

    @nn.compact
    def __call__(
        self,
        inputs: tuple[Array, Array],
        weights: Float[Array, "edge primitive"],
        *,
        train: bool,
    ) -> Float[Array, "batch height width channels"]:
        spec = self.spec
        if self.reduce_first:
            adapter = FactorizedReduce(1, self.channels, name="input_0")
            first = adapter(inputs[0], train=train)[0]
        else:
            first = ReLUConvBN(self.channels, name="input_0")(inputs[0], train=train)
        second = ReLUConvBN(self.channels, name="input_1")(inputs[1], train=train)
        values = [fence(first), fence(second)]
        arriving: dict[int, list[Array]] = {node: [] for node in spec.concat}
        last = spec.inputs + spec.nodes - 1
        for source in range(last):
            rows = [e for e, (s, _) in enumerate(spec.edges) if s == source]
            stride = spec.stride if source < spec.inputs else 1
            mixed = MixedSource(spec.primitives, stride, name=f"source_{source}")
            out = mixed(values[source], weights[jnp.array(rows)], train=train)
            for row, value in zip(rows, out, strict=True):
                arriving[spec.edges[row][1]].append(value)
            if source + 1 in arriving:  # every edge into that node has been computed
                values.append(fence(sum(arriving[source + 1])))
        return jnp.concatenate([values[node] for node in spec.concat], axis=-1)
