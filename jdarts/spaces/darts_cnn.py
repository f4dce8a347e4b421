"""The convolutional space of DARTS: 8 primitives, 4 nodes, 14 edges, two cell types."""

import dataclasses

from jdarts.spaces.base import CellSpec, SearchSpace

__all__ = ["DARTS_CNN", "DARTS_CNN_PRIMITIVES"]

DARTS_CNN_PRIMITIVES = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)

_NORMAL = CellSpec(primitives=DARTS_CNN_PRIMITIVES, nodes=4)

DARTS_CNN = SearchSpace(
    name="darts_cnn",
    cells={"normal": _NORMAL, "reduce": dataclasses.replace(_NORMAL, stride=2)},
    reference="Liu, Simonyan, Yang, 'DARTS', ICLR 2019, section 3.1.1, appendix A.1.1",
)
