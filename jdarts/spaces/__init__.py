"""What can be searched: one file a space, one row in SPACES."""

from jdarts.errors import unknown_choice
from jdarts.spaces.base import CellSpec, SearchSpace
from jdarts.spaces.darts_cnn import DARTS_CNN, DARTS_CNN_7
from jdarts.spaces.darts_rnn import DARTS_RNN
from jdarts.spaces.genotype import MAX_NODES, CellGenotype, Connection, Genotype
from jdarts.spaces.nas_bench_201 import NAS_BENCH_201
from jdarts.spaces.nasp_cnn import NASP_CNN
from jdarts.spaces.robust import S1, S2, S3, S4
from jdarts.spaces.toy import TOY, TOY_RNN
from jdarts.spaces.zoo import ZOO, zoo_genotype

__all__ = [
    "DARTS_RNN",
    "MAX_NODES",
    "SPACES",
    "ZOO",
    "CellGenotype",
    "CellSpec",
    "Connection",
    "Genotype",
    "SearchSpace",
    "get_space",
    "zoo_genotype",
]

SPACES: dict[str, SearchSpace] = {
    space.name: space
    for space in (
        *(DARTS_CNN, DARTS_CNN_7, NASP_CNN, NAS_BENCH_201, DARTS_RNN),
        *(S1, S2, S3, S4),
        *(TOY, TOY_RNN),
    )
}


def get_space(name: str) -> SearchSpace:
    """The space of that name.

    Raises:
      UserError: if there is none; it names the nearest one.
    """
    if name not in SPACES:
        raise unknown_choice("space", name, SPACES)
    return SPACES[name]
