"""The convolutional space of DARTS: 8 primitives, 4 nodes, 14 edges, two cell types.

And the same without `none`, which some methods leave out.
"""

import dataclasses

from jdarts.spaces.base import CellSpec, SearchSpace

__all__ = ["DARTS_CNN", "DARTS_CNN_7", "DARTS_CNN_PRIMITIVES"]

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

_NORMAL_7 = CellSpec(primitives=DARTS_CNN_PRIMITIVES[1:], nodes=4)

DARTS_CNN_7 = SearchSpace(
    name="darts_cnn_7",
    cells={"normal": _NORMAL_7, "reduce": dataclasses.replace(_NORMAL_7, stride=2)},
    reference="DARTS_CNN without `none`: Chu et al., 'Fair DARTS', ECCV 2020; others",
)
