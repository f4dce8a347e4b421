"""How choices become numbers: architecture parameters to mixing weights."""

from jdarts.relaxation.base import Relaxation
from jdarts.relaxation.discrete import discrete
from jdarts.relaxation.softmax import edge_softmax, softmax

__all__ = ["Relaxation", "discrete", "edge_softmax", "softmax"]
