"""Differentiable neural architecture search, compiled."""

from jdarts.compile import jit
from jdarts.derive import derive_genotype
from jdarts.errors import RunError, UserError
from jdarts.hypergradient import HypergradientConfig, make_hypergradient
from jdarts.io import load_genotype
from jdarts.methods import (
    METHODS,
    SearchBatches,
    SearchMethod,
    SearchState,
    build_method,
    make_supernet,
)
from jdarts.methods.darts import DartsConfig
from jdarts.nets.fixed import DropPath, FixedNetwork, Outputs, fixed_network
from jdarts.nets.network import Network, supernet
from jdarts.spaces import SPACES, ZOO, Genotype, SearchSpace, get_space
from jdarts.types import Arch, Batch

__all__ = [
    "METHODS",
    "SPACES",
    "Arch",
    "Batch",
    "DartsConfig",
    "DropPath",
    "FixedNetwork",
    "Genotype",
    "HypergradientConfig",
    "Network",
    "Outputs",
    "RunError",
    "SearchBatches",
    "SearchMethod",
    "SearchSpace",
    "SearchState",
    "ZOO",
    "UserError",
    "build_method",
    "derive_genotype",
    "fixed_network",
    "get_space",
    "jit",
    "load_genotype",
    "make_hypergradient",
    "make_supernet",
    "supernet",
]
