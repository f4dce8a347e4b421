"""How choices become numbers: architecture parameters to mixing weights."""

from jdarts.relaxation.base import Relaxation
from jdarts.relaxation.discrete import discrete
from jdarts.relaxation.sampled import concrete, dirichlet, gumbel
from jdarts.relaxation.sigmoid import sigmoid
from jdarts.relaxation.softmax import edge_softmax, softmax
from jdarts.relaxation.uniform import uniform

__all__ = [
    "Relaxation",
    "concrete",
    "dirichlet",
    "discrete",
    "edge_softmax",
    "gumbel",
    "sigmoid",
    "softmax",
    "uniform",
]
