"""Differentiable neural architecture search, compiled.

Names are imported when they are first asked for, so that commands start quickly.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    "__version__",
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

__version__: str

# As above: the module of each name.
_MODULES = {
    "jdarts.compile": ("jit",),
    "jdarts.derive": ("derive_genotype",),
    "jdarts.errors": ("RunError", "UserError"),
    "jdarts.hypergradient": ("HypergradientConfig", "make_hypergradient"),
    "jdarts.io": ("load_genotype",),
    "jdarts.methods": (
        *("METHODS", "SearchBatches", "SearchMethod", "SearchState"),
        *("build_method", "make_supernet"),
    ),
    "jdarts.methods.darts": ("DartsConfig",),
    "jdarts.nets.fixed": ("DropPath", "FixedNetwork", "Outputs", "fixed_network"),
    "jdarts.nets.network": ("Network", "supernet"),
    "jdarts.spaces": ("SPACES", "ZOO", "Genotype", "SearchSpace", "get_space"),
    "jdarts.types": ("Arch", "Batch"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value = importlib.import_module("jdarts.version").version()
    elif name in _MODULE_OF:
        value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    else:
        raise AttributeError(f"module 'jdarts' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
