"""What an edge can do: one OPS table.

An op maps the value of one source node, ``[batch, height, width, channel]``, to its
values on all edges that leave that node: ``[edge, batch, height, width, channel]``,
with stacked parameters. Parameter-free ops return ``[1, ...]``: they are computed once
per source, but for those that draw. A fixed network uses the same ops with one edge.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from jdarts.errors import unknown_choice
from jdarts.ops.conv import FactorizedReduce, Separable, SeparableOps
from jdarts.ops.dense_conv import DenseConvs
from jdarts.ops.line_conv import GroupedLineConvs, LineConvs
from jdarts.ops.noise import RNG, Noise
from jdarts.ops.norm import BatchNorm
from jdarts.ops.pool import avg_pool, max_pool
from jdarts.ops.uneven import UnevenSeparableOps
from jdarts.ops.windows import Window

__all__ = [
    "DRAWING",
    "OPS",
    "RNG",
    "Identity",
    "OpBuilder",
    "Separable",
    "SeparableOps",
    "UnevenSeparableOps",
    "get_op",
    "make_op",
]

OpBuilder = Callable[..., nn.Module]


class Pool(nn.Module):
    """A pooling function, followed by a normaliser in search networks.

    Attributes:
      function: pools.
      window: where.
      normalise: whether a normaliser follows.
      scaled: number of edges that learn their own scale and shift; 0: there are
        none, and one result serves all edges.
    """

    function: Callable[[Array, Window], Array]
    window: Window
    normalise: bool
    scaled: int = 0

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        y = self.function(x, self.window)[None]
        if not self.normalise:
            return y
        if self.scaled:
            y = jnp.tile(y, (self.scaled, 1, 1, 1, 1))
        return BatchNorm(self.scaled > 0, name="bn")(y, train=train)


class Identity(nn.Module):
    """The source itself."""

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        return x[None]


def _skip(
    *, edges: int, channels: int, stride: int, affine: bool, name: str, **_: bool
) -> nn.Module:
    if stride == 1:
        return Identity(name=name)
    return FactorizedReduce(edges, channels, affine, name=name)


def _pool(function: Callable[[Array, Window], Array], kernel: int) -> OpBuilder:
    def build(*, stride: int, normalise_pools: bool, name: str, **_: int) -> nn.Module:
        return Pool(function, Window(kernel, stride), normalise_pools, name=name)

    return build


def _normalised_pool(kernel: int) -> OpBuilder:
    def build(
        *, edges: int, stride: int, affine: bool, name: str, **_: int
    ) -> nn.Module:
        scaled = edges if affine else 0
        return Pool(max_pool, Window(kernel, stride), True, scaled, name=name)

    return build


def _convs(module: Callable[..., nn.Module], kernel: int) -> OpBuilder:
    def build(
        *, edges: int, stride: int, affine: bool, name: str, **_: int
    ) -> nn.Module:
        return module(edges, kernel, stride, affine, name=name)

    return build


def _dense(kernel: int) -> OpBuilder:
    def build(
        *,
        edges: int,
        stride: int,
        affine: bool,
        name: str,
        bias: bool = False,
        **_: int,
    ) -> nn.Module:
        return DenseConvs(edges, kernel, stride, affine, bias, name=name)

    return build


def _noise(*, edges: int, stride: int, name: str, **_: int) -> nn.Module:
    return Noise(edges, stride, name=name)


# Name -> what it is:
#   None: takes its share of the mixing weights and adds nothing;
#   Separable: a chain of separable convolutions, computed together with the others of
#     as many stages that leave the same source;
#   a builder(edges, channels, stride, affine, normalise_pools, bias, name) of a module
#     that is called as ``op(x, train=...)``.
OPS: dict[str, Separable | OpBuilder | None] = {
    "none": None,
    "max_pool_3x3": _pool(max_pool, 3),
    "max_pool_5x5": _pool(max_pool, 5),
    "max_pool_7x7": _pool(max_pool, 7),
    "avg_pool_3x3": _pool(avg_pool, 3),
    "skip_connect": _skip,
    "sep_conv_3x3": Separable((3, 3)),
    "sep_conv_5x5": Separable((5, 5)),
    "sep_conv_7x7": Separable((7, 7)),
    "dil_conv_3x3": Separable((3,), dilation=2),
    "dil_conv_5x5": Separable((5,), dilation=2),
    "conv_1x1": _dense(1),
    "conv_3x3": _dense(3),
    "conv_3x1_1x3": _convs(LineConvs, 3),
    "conv_7x1_1x7": _convs(LineConvs, 7),
    "group_conv_3x1_1x3": _convs(GroupedLineConvs, 3),
    "max_pool_3x3_bn": _normalised_pool(3),
    "noise": _noise,
}

DRAWING = frozenset({"noise"})
"""Ops that draw from the keys of the collection `RNG`; without a key they repeat."""


def get_op(name: str) -> Separable | OpBuilder | None:
    """The row of that name.

    Raises:
      UserError: if there is none; it names the nearest one.
    """
    if name not in OPS:
        raise unknown_choice("primitive", name, OPS)
    return OPS[name]


class _SeparableOp(nn.Module):
    """One separable op alone."""

    edges: int
    op: Separable
    stride: int
    affine: bool

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        ops = (("conv", self.op),)
        together = SeparableOps(self.edges, ops, self.stride, self.affine, name="ops")
        return together(x, train=train)


def make_op(
    name: str,
    *,
    edges: int,
    channels: int,
    stride: int = 1,
    affine: bool = False,
    normalise_pools: bool = True,
    bias: bool = False,
) -> nn.Module | None:
    """Builds an op of the table; the module (and its weights) are named after it.

    Args:
      name: a row of OPS.
      edges: number of edges that leave the source.
      channels: width of the source and of the result.
      stride: 1 or 2.
      affine: whether normalisers learn a scale and a shift (not in search networks).
      normalise_pools: whether a normaliser follows a pool (only in search networks).
      bias: whether dense convolutions have a bias (in those of NAS-Bench-201).

    Raises:
      UserError: if there is no such row.
    """
    row = get_op(name)
    if row is None:
        return None
    if isinstance(row, Separable):
        return _SeparableOp(edges, row, stride, affine, name=name)
    return row(
        edges=edges,
        channels=channels,
        stride=stride,
        affine=affine,
        normalise_pools=normalise_pools,
        bias=bias,
        name=name,
    )
