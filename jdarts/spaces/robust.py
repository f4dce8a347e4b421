"""Spaces in which DARTS fails: few primitives, one of them bad or empty.

In S1 each edge has two primitives of its own: those that were left on it when DARTS
searched in its own space and the weakest were taken away, one after the other.
"""

import dataclasses

from jdarts.spaces.base import CellSpec, SearchSpace

__all__ = ["S1", "S2", "S3", "S4"]

_MAX, _AVG, _SKIP, _SEP3, _DIL3, _DIL5 = _ALL = (
    *("max_pool_3x3", "avg_pool_3x3", "skip_connect"),
    *("sep_conv_3x3", "dil_conv_3x3", "dil_conv_5x5"),
)

# A line for each node; its edges by their source.
_S1_NORMAL = (
    *((_SKIP, _DIL3), (_SKIP, _DIL5)),
    *((_SKIP, _DIL5), (_SKIP, _SEP3), (_SKIP, _DIL3)),
    *((_MAX, _SKIP), (_SKIP, _SEP3), (_SKIP, _SEP3), (_SKIP, _DIL3)),
    *((_SKIP, _SEP3), (_MAX, _SKIP), (_SKIP, _DIL3), (_DIL3, _DIL5), (_DIL3, _DIL5)),
)
_S1_REDUCE = (
    *((_MAX, _AVG), (_MAX, _DIL3)),
    *((_MAX, _AVG), (_MAX, _AVG), (_SKIP, _DIL5)),
    *((_MAX, _AVG), (_MAX, _SEP3), (_SKIP, _DIL3), (_SKIP, _DIL5)),
    *((_MAX, _AVG), (_MAX, _AVG), (_SKIP, _DIL5), (_SKIP, _DIL5), (_SKIP, _DIL5)),
)


def _space(name: str, normal: CellSpec, reduce: CellSpec) -> SearchSpace:
    return SearchSpace(
        name=name,
        cells={"normal": normal, "reduce": dataclasses.replace(reduce, stride=2)},
        reference="Zela et al., 'Understanding and Robustifying DARTS', ICLR 2020, "
        "section 3; S1 edge by edge as in its code",
    )


def _same(name: str, *primitives: str) -> SearchSpace:
    spec = CellSpec(primitives=primitives, nodes=4)
    return _space(name, spec, spec)


S1 = _space(
    "s1",
    CellSpec(primitives=_ALL, nodes=4, edge_primitives=_S1_NORMAL),
    CellSpec(primitives=_ALL, nodes=4, edge_primitives=_S1_REDUCE),
)
S2 = _same("s2", "skip_connect", "sep_conv_3x3")
S3 = _same("s3", "none", "skip_connect", "sep_conv_3x3")
S4 = _same("s4", "noise", "sep_conv_3x3")
