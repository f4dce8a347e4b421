"""The published architectures, by name.

Where each was read is said beside it; numbers of parameters of the networks that they
make are in the tests. Some papers give more for the same genotype (DARTS_V1: 3.3 M,
counted 3.17 M; SNAS_mild: 2.9 M, counted 2.66 M) or less (NASNet_A: 3.3 M, counted
3.83 M).
"""

from typing import Any

from jdarts.errors import unknown_choice
from jdarts.spaces.genotype import CellGenotype, Connection, Genotype

__all__ = ["ZOO", "zoo_genotype"]

_PRIMITIVES = {
    "no": "none",
    "sk": "skip_connect",
    "mp": "max_pool_3x3",
    "mp5": "max_pool_5x5",
    "ap": "avg_pool_3x3",
    "s3": "sep_conv_3x3",
    "s5": "sep_conv_5x5",
    "s7": "sep_conv_7x7",
    "d3": "dil_conv_3x3",
    "d5": "dil_conv_5x5",
    "c1": "conv_1x1",
    "c3": "conv_3x3",
    "c31": "conv_3x1_1x3",
    "c71": "conv_7x1_1x7",
    "gc": "group_conv_3x1_1x3",
    "mpn": "max_pool_3x3_bn",
}


def _cell(text: str, concat: tuple[int, ...] | None = None) -> CellGenotype:
    """``primitive:source`` twice a node, or nodes set apart by commas."""
    parts = text.split(",") if "," in text else _pairs(text.split())
    nodes = tuple(tuple(_connection(t) for t in part.split()) for part in parts)
    return CellGenotype(nodes, concat or tuple(range(2, 2 + len(nodes))))


def _pairs(tokens: list[str]) -> list[str]:
    return [" ".join(tokens[i : i + 2]) for i in range(0, len(tokens), 2)]


def _connection(token: str) -> Connection:
    code, source = token.split(":")
    return Connection(_PRIMITIVES.get(code, code), int(source))


def _cnn(
    normal: str,
    reduce: str,
    *,
    space: str = "darts_cnn",
    normal_concat: tuple[int, ...] | None = None,
    reduce_concat: tuple[int, ...] | None = None,
) -> Genotype:
    cells = {
        "normal": _cell(normal, normal_concat),
        "reduce": _cell(reduce, reduce_concat),
    }
    return Genotype(space, cells)


def _rnn(text: str, **options: Any) -> Genotype:
    """One connection a node; node 0 is the cell's input."""
    nodes = tuple((_connection(token),) for token in text.split())
    concat = options.get("concat", tuple(range(1, 1 + len(nodes))))
    cell = CellGenotype(nodes, concat, inputs=1, output="mean")
    return Genotype("darts_rnn", {"recurrent": cell})


ZOO: dict[str, Genotype] = {
    # Zoph et al., CVPR 2018, as in the DARTS code.
    "NASNet_A": _cnn(
        "s5:1 s3:0 s5:0 s3:0 ap:1 sk:0 ap:0 ap:0 s3:1 sk:1",
        "s5:1 s7:0 mp:1 s7:0 ap:1 s5:0 sk:3 ap:2 s3:2 mp:1",
        space="nasnet",
        reduce_concat=(4, 5, 6),
    ),
    # Real et al., AAAI 2019, as in the DARTS code.
    "AmoebaNet_A": _cnn(
        "ap:0 mp:1 s3:0 s5:2 s3:0 ap:3 s3:1 sk:1 sk:0 ap:1",
        "ap:0 s3:1 mp:0 s7:2 s7:0 ap:1 mp:0 mp:1 c71:0 s3:5",
        space="nasnet",
        normal_concat=(4, 5, 6),
        reduce_concat=(3, 4, 6),
    ),
    # Liu, Simonyan, Yang, ICLR 2019: first and second order.
    "DARTS_V1": _cnn(
        "s3:1 s3:0 sk:0 s3:1 sk:0 s3:1 s3:0 sk:2",
        "mp:0 mp:1 sk:2 mp:0 mp:0 sk:2 sk:2 ap:0",
    ),
    "DARTS_V2": _cnn(
        "s3:0 s3:1 s3:0 s3:1 s3:1 sk:0 sk:0 d3:2",
        "mp:0 mp:1 sk:2 mp:1 mp:0 sk:2 sk:2 mp:1",
    ),
    # Xu et al., 'PC-DARTS', ICLR 2020: searched on CIFAR-10 and on ImageNet.
    "PC_DARTS_cifar": _cnn(
        "s3:1 sk:0 s3:0 d3:1 s5:0 s3:1 ap:0 d3:1",
        "s5:1 mp:0 s5:1 s5:2 s3:0 s3:3 s3:1 s3:2",
    ),
    "PC_DARTS_image": _cnn(
        "sk:1 s3:0 s3:0 sk:1 s3:1 s3:3 s3:1 d5:4",
        "s3:0 sk:1 d5:2 mp:1 s3:2 s3:1 s5:0 s3:3",
    ),
    # Chen et al., 'P-DARTS', ICCV 2019.
    "PDARTS": _cnn(
        "sk:0 d3:1 sk:0 s3:1 s3:1 s3:3 s3:0 d5:4",
        "ap:0 s5:1 s3:0 d5:2 mp:0 d3:1 d3:1 d5:3",
    ),
    # Yao et al., 'NASP', AAAI 2020: its own space; the DARTS space (StarLight's run).
    "NASP_12op": _cnn(
        "c31:0 c3:1 d3:2 c3:1 d3:2 c3:0 sk:0 d3:3",
        "mp:0 mp:1 sk:2 mp5:1 sk:2 sk:3 sk:0 sk:1",
        space="nasp_cnn",
    ),
    "NASP_7op_StarLight": _cnn(
        "s5:0 s3:1 sk:0 s3:1 d3:3 s5:1 d5:4 d5:3",
        "mp:1 mp:0 d3:2 s5:1 s5:2 mp:0 s3:0 s3:2",
    ),
    # Dong, Yang, 'GDAS', CVPR 2019; the second with its hand-made reduction cell.
    "GDAS_V1": _cnn(
        "sk:0 sk:1 sk:0 s5:2 s3:3 sk:0 s5:4 s3:3",
        "s5:0 s3:1 s5:2 s5:1 d5:2 s3:1 s5:0 s5:1",
    ),
    "GDAS_F1_fixed_reduction": _cnn(
        "sk:0 sk:1 sk:0 s3:2 sk:0 s3:2 sk:0 s3:2",
        "gc:0, gc:1, mpn:0, mpn:1",
    ),
    # Xie et al., 'SNAS', ICLR 2019: three strengths of the resource constraint.
    "SNAS_mild": _cnn(
        "s3:0 s3:1 sk:0 d3:1 sk:0 sk:1 sk:0 s3:1",
        "mp:0 mp:1 mp:1 sk:2 mp:1 sk:2 mp:0 d5:2",
    ),
    "SNAS_moderate": _cnn(
        "d5:0 sk:1 s3:0 sk:1 sk:0 sk:1 s3:0 d5:1",
        "mp:0 mp:1 s5:0 d5:1 s5:0 s5:1 s5:0 s5:1",
    ),
    "SNAS_aggressive": _cnn(
        "s5:0 sk:1 sk:0 sk:1 d5:1 sk:0 sk:0 d5:1",
        "s5:0 no:1 s5:0 no:1 no:1 no:0 no:1 no:0",
    ),
    # Chen et al., 'DrNAS', ICLR 2021.
    "DrNAS_cifar10": _cnn(
        "s3:0 s5:1 s3:1 s3:2 sk:0 s3:1 s3:2 d5:3",
        "mp:0 s5:1 d5:2 s5:1 s5:1 d5:3 sk:4 s5:1",
    ),
    "DrNAS_imagenet": _cnn(
        "s3:1 s3:0 s3:0 s3:1 s3:0 d3:3 sk:0 s3:1",
        "mp:0 s3:1 s3:0 sk:2 s3:0 s3:2 s3:3 s3:1",
    ),
    # Li et al., 'SGAS', CVPR 2020: the best of each criterion.
    "SGAS_Cri1_C10_best": _cnn(
        "s3:0 d3:1 s3:0 s3:1 s5:1 s5:3 sk:0 d5:2",
        "mp:0 d5:1 s3:0 sk:2 s3:1 sk:2 mp:0 mp:1",
    ),
    "SGAS_Cri2_C10_best": _cnn(
        "s3:0 s3:1 s3:0 s3:2 mp:0 s3:3 s3:2 s3:3",
        "s3:0 mp:1 d3:0 mp:1 mp:0 s3:2 mp:0 s5:2",
    ),
    # Chu et al., 'Fair DARTS', ECCV 2020: a node has the connections that it needs.
    "FairDARTS_a": _cnn(
        "s3:0, s5:1 s3:0, mp:0,",
        "mp:0 ap:1, ap:0 d5:1, ap:0 s5:1, sk:0 sk:1",
    ),
    "FairDARTS_b": _cnn(
        "s3:0 s3:1, s3:1, d3:0 s5:1, d5:1",
        "sk:0 d3:1, sk:0 d3:1, mp:0 s3:1, sk:2 mp:0",
    ),
    # Pham et al., 'ENAS', ICML 2018, and DARTS' recurrent cells of both orders.
    "RNN_ENAS": _rnn(
        "tanh:0 tanh:1 relu:1 tanh:3 tanh:3 relu:3 relu:4 relu:7 relu:8 relu:8 relu:8",
        concat=(2, 5, 6, 9, 10, 11),
    ),
    "RNN_DARTS_V1": _rnn("relu:0 relu:1 tanh:2 relu:3 relu:4 identity:1 relu:5 relu:1"),
    "RNN_DARTS_V2": _rnn(
        "sigmoid:0 relu:1 relu:1 identity:1 tanh:2 sigmoid:5 tanh:3 relu:5"
    ),
}


def zoo_genotype(name: str) -> Genotype:
    """The architecture of that name.

    Raises:
      UserError: if there is none; it names the nearest one.
    """
    if name not in ZOO:
        raise unknown_choice("genotype", name, ZOO)
    return ZOO[name]
