"""The weights of a network as one flat dictionary of named arrays.

The names are the paths in the trees of `jdarts.nets.fixed.fixed_network` with
``scan=False``, joined by ``/``; weights and running statistics have no name in common.
Cells that the network runs as one loop are taken apart. Images are ``[batch, height,
width, channel]``, kernels ``[height, width, in, out]``; most arrays have a leading axis
of length 1 (the edges that share a source: always one in a derived network).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jdarts.data.base import DAMAGED
from jdarts.errors import UserError
from jdarts.regular_file import open_regular
from jdarts.types import PyTree

__all__ = ["Weights", "named_weights", "read_weights", "trees"]

Weights = dict[str, np.ndarray]

_RUN = re.compile(r"cells_(\d+)_(\d+)/")
_STATISTICS = ("mean", "var")


def named_weights(w: PyTree, model_state: PyTree) -> Weights:
    """Names and arrays of a network, in the order of its cells.

    Args:
      w: the weights.
      model_state: the running statistics.
    """
    named: Weights = {}
    for tree in (w, model_state):
        for path, leaf in jax.tree.leaves_with_path(tree):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            named |= _apart(name, np.asarray(leaf))
    return dict(sorted(named.items(), key=lambda item: _order(item[0])))


def _apart(name: str, array: np.ndarray) -> Weights:
    """One entry for each cell of a run of cells."""
    run = _RUN.match(name)
    if run is None:
        return {name: array}
    first, rest = int(run[1]), name[run.end() :]
    return {f"cell_{first + i}/{rest}": part for i, part in enumerate(array)}


def _order(name: str) -> list[Any]:
    """Numbers in names count as numbers."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if part.isdigit() else part for part in parts]


def trees(weights: Mapping[str, np.ndarray]) -> tuple[PyTree, PyTree]:
    """The reverse of `named_weights`, for a network built with ``scan=False``.

    Args:
      weights: as `named_weights` returns them.

    Returns:
      ``(w, model_state)``.
    """
    w: dict[str, Any] = {}
    model_state: dict[str, Any] = {}
    for name, array in weights.items():
        *folders, last = name.split("/")
        tree = model_state if last in _STATISTICS else w
        for folder in folders:
            tree = tree.setdefault(folder, {})
        tree[last] = array
    return w, model_state


def read_weights(path: Path) -> Weights:
    """Reads a file of weights that `jdarts.export` has written.

    Raises:
      UserError: if it cannot be read.
    """
    try:
        with open_regular(path) as opened, np.load(opened, allow_pickle=False) as file:
            return dict(file)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror or error}); expected what "
            "jdarts.export wrote"
        ) from None
    except (*DAMAGED, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{path}: not a file of weights ({reason}); expected what jdarts.export "
            "wrote"
        ) from None
