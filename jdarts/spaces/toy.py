"""Spaces small enough for tests: images and recurrent cells, 3 primitives, 2 nodes."""

import dataclasses

from jdarts.spaces.base import CellSpec, SearchSpace

__all__ = ["TOY", "TOY_RNN"]

_NORMAL = CellSpec(primitives=("none", "skip_connect", "sep_conv_3x3"), nodes=2)

TOY = SearchSpace(
    name="toy",
    cells={"normal": _NORMAL, "reduce": dataclasses.replace(_NORMAL, stride=2)},
    stem_multiplier=1,
    reference="for tests",
)

TOY_RNN = SearchSpace(
    name="toy_rnn",
    cells={
        "recurrent": CellSpec(
            primitives=("none", "tanh", "identity"),
            nodes=2,
            inputs=1,
            keep=1,
            output="mean",
        )
    },
    task="text",
    reference="for tests",
)
