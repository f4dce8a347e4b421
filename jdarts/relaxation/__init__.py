"""How choices become numbers: architecture parameters to mixing weights."""

from jdarts.relaxation.base import Relaxation
from jdarts.relaxation.discrete import discrete
from jdarts.relaxation.pruned import (
    Held,
    Prune,
    offered_softmax,
    pruned_softmax,
    settle_by_epoch,
)
from jdarts.relaxation.sampled import concrete, dirichlet, gumbel
from jdarts.relaxation.sigmoid import sigmoid
from jdarts.relaxation.softmax import edge_softmax, softmax
from jdarts.relaxation.uniform import uniform

__all__ = [
    "Held",
    "Prune",
    "Relaxation",
    "concrete",
    "dirichlet",
    "discrete",
    "edge_softmax",
    "gumbel",
    "offered_softmax",
    "pruned_softmax",
    "settle_by_epoch",
    "sigmoid",
    "softmax",
    "uniform",
]
