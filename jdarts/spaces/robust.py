"""Spaces in which DARTS fails: few primitives, one of them bad or empty.

S1 is not here: each of its edges has two primitives of its own.
"""

import dataclasses

from jdarts.spaces.base import CellSpec, SearchSpace

__all__ = ["S2", "S3", "S4"]


def _space(name: str, *primitives: str) -> SearchSpace:
    normal = CellSpec(primitives=primitives, nodes=4)
    return SearchSpace(
        name=name,
        cells={"normal": normal, "reduce": dataclasses.replace(normal, stride=2)},
        reference="Zela et al., 'Understanding and Robustifying DARTS', ICLR 2020, "
        "section 3",
    )


S2 = _space("s2", "skip_connect", "sep_conv_3x3")
S3 = _space("s3", "none", "skip_connect", "sep_conv_3x3")
S4 = _space("s4", "noise", "sep_conv_3x3")
