"""NASP's space: 12 primitives, of which 8 for normal and 5 for reduction cells."""

from jdarts.spaces.base import CellSpec, SearchSpace

__all__ = ["NASP_CNN"]

_NORMAL = (
    "skip_connect",
    "conv_3x1_1x3",
    "dil_conv_3x3",
    "conv_1x1",
    "conv_3x3",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
)
_REDUCE = (
    "skip_connect",
    "avg_pool_3x3",
    "max_pool_3x3",
    "max_pool_5x5",
    "max_pool_7x7",
)

NASP_CNN = SearchSpace(
    name="nasp_cnn",
    cells={
        "normal": CellSpec(primitives=_NORMAL, nodes=4),
        "reduce": CellSpec(primitives=_REDUCE, nodes=4, stride=2),
    },
    reference="Yao, Xu, Tu, Zhu, 'NASP', AAAI 2020: the authors' code",
)
