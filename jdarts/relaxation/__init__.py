"""How choices become numbers: architecture parameters to mixing weights."""

from jdarts.relaxation.base import Relaxation
from jdarts.relaxation.softmax import edge_softmax, softmax

__all__ = ["Relaxation", "edge_softmax", "softmax"]
