"""A space small enough for tests: 3 primitives, 2 nodes, 5 edges, two cell types."""

import dataclasses

from jdarts.spaces.base import CellSpec, SearchSpace

__all__ = ["TOY"]

_NORMAL = CellSpec(primitives=("none", "skip_connect", "sep_conv_3x3"), nodes=2)

TOY = SearchSpace(
    name="toy",
    cells={"normal": _NORMAL, "reduce": dataclasses.replace(_NORMAL, stride=2)},
    stem_multiplier=1,
    reference="for tests",
)
