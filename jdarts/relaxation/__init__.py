"""How choices become numbers: architecture parameters to mixing weights."""

from jdarts.relaxation.base import Relaxation
from jdarts.relaxation.softmax import softmax

__all__ = ["Relaxation", "softmax"]
