"""Reading pickled NumPy arrays without giving the file any code to run."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from jdarts.errors import UserError

__all__ = ["load_pickle"]


def _dtype(code: Any, align: Any = False, copy: Any = False) -> np.dtype:
    """``numpy.dtype`` for the 0 and 1 that old pickles have instead of booleans."""
    return np.dtype(code, align=bool(align), copy=bool(copy))


def _latin1(text: str, encoding: str) -> bytes:
    """The one use of ``codecs.encode`` in a pickle: bytes, in the old protocols."""
    if encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode("latin1")


# NumPy names these functions in its pickles, but keeps them in private modules.
_RECONSTRUCT = np.empty(0, np.uint8).__reduce__()[0]
_FROM_BUFFER = np.empty(1, np.uint8).__reduce_ex__(5)[0]
_ALLOWED = {
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("numpy._core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("_codecs", "encode"): _latin1,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Finds nothing but what arrays and bytes are made of."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ALLOWED[module, name]


def load_pickle(path: Path) -> Any:
    """What the file holds: plain Python values and NumPy arrays, nothing else.

    Strings that Python 2 wrote come back as bytes.

    Raises:
      UserError: if the file is no pickle, is cut short, or asks for anything else.
    """
    with path.open("rb") as file:
        try:
            return _ArrayUnpickler(file, encoding="bytes").load()
        except Exception as error:  # a damaged pickle raises nearly anything
            raise UserError(
                f"{path}: not a readable pickle ({type(error).__name__}: {error}); "
                "expected one of plain values and NumPy arrays"
            ) from None
