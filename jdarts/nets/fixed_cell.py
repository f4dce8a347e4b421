"""The cell of a derived network: the chosen ops, each on its own connection."""

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jdarts.ops import make_op
from jdarts.ops.conv import FactorizedReduce, ReLUConvBN
from jdarts.ops.fence import fence
from jdarts.spaces import CellGenotype

__all__ = ["FixedCell"]

_INPUTS = 2


class FixedCell(nn.Module):
    """One cell of a derived network; normalisers learn a scale and a shift.

    Attributes:
      genotype: the cell.
      channels: width of every node.
      stride: of the connections that leave an input: 2 in a reduction cell.
      reduce_first: whether input 0 is twice as large as input 1, because the cell
        before the previous one was followed by a reduction.
      train: whether normalisers use the batch's statistics.
    """

    genotype: CellGenotype
    channels: int
    stride: int
    reduce_first: bool
    train: bool

    @nn.compact
    def __call__(
        self,
        inputs: tuple[Array, Array],
        masks: Float[Array, "connection batch"] | None,
    ) -> tuple[tuple[Array, Array], None]:
        """The two inputs to the next cell's, in the form of a step of a scan.

        Args:
          inputs: the outputs of the two cells before, ``[batch, height, width, C]``.
          masks: factors of the connections' values, see `jdarts.nets.paths`; None: all
            1.
        """
        values, number = self._inputs(inputs), 0
        for node in self.genotype.nodes:
            terms = []
            for name, source in node:
                value = self._connect(number, name, values[source], source)
                if value is not None:
                    if masks is not None and not self._is_identity(name, source):
                        factors = masks[number, :, None, None, None]
                        value = value * factors.astype(value.dtype)
                    terms.append(value)
                number += 1
            values.append(self._sum(terms, values[0]))
        out = jnp.concatenate([values[i] for i in self.genotype.concat], axis=-1)
        return (inputs[1], out), None

    def _inputs(self, inputs: tuple[Array, Array]) -> list[Array]:
        """Both inputs with the cell's width and the size of the second one."""
        train, width = self.train, self.channels
        if self.reduce_first:
            halve = FactorizedReduce(1, width, affine=True, name="input_0")
            first = halve(inputs[0], train=train)[0]
        else:
            adapter = ReLUConvBN(width, affine=True, name="input_0")
            first = adapter(inputs[0], train=train)
        adapter = ReLUConvBN(width, affine=True, name="input_1")
        return [fence(first), fence(adapter(inputs[1], train=train))]

    def _connect(self, number: int, name: str, x: Array, source: int) -> Any:
        """The value of a connection; None of the primitive that adds nothing."""
        op = Connection(name, self._stride(source), name=f"op_{number}")
        return op(x, train=self.train)

    def _stride(self, source: int) -> int:
        return self.stride if source < _INPUTS else 1

    def _is_identity(self, name: str, source: int) -> bool:
        return name == "skip_connect" and self._stride(source) == 1

    def _sum(self, terms: list[Array], first: Array) -> Array:
        """A node; one that nothing enters is 0."""
        if terms:
            return fence(functools.reduce(jnp.add, terms))
        batch, height, width, channels = first.shape
        half = (batch, height // self.stride, width // self.stride, channels)
        return jnp.zeros(half, first.dtype)


class Connection(nn.Module):
    """One op on one edge.

    Attributes:
      primitive: a row of the OPS table.
      stride: 1 or 2.
    """

    primitive: str
    stride: int

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | None:
        op = make_op(
            self.primitive,
            edges=1,
            channels=x.shape[-1],
            stride=self.stride,
            affine=True,
            normalise_pools=False,
        )
        return None if op is None else op(x, train=train)[0]
