"""Reading pickled NumPy arrays without giving the file any code to run.

What a file may call are four makers of this module, and what they make knows nothing
but its parts: arrays are made of them afterwards, once these are plain numbers.
"""

import io
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from jdarts.data.base import check_memory
from jdarts.errors import UserError
from jdarts.regular_file import open_regular

__all__ = ["load_pickle"]

_MOST_STEPS = (
    5_000_000  # of the unpickler; the largest batch of CIFAR needs 0.2 million
)
_NUMBERS = re.compile(r"[biuf][1248]|b1|\?|S[0-9]{1,6}")


class _Inert:
    """What a file can refer to, but not change."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes what it refers to")


class _Dtype(_Inert):
    """A dtype as the pickle describes it."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any) -> None:
        self.code, self.order = _text(code), "|"

    def __setstate__(self, state: Any) -> None:
        _, order, *rest = state
        if any(part is not None for part in rest[:3]):
            raise pickle.UnpicklingError("it has a dtype of several fields")
        self.order = _text(order)

    def made(self) -> np.dtype:
        """The dtype, if it is one of numbers or bytes."""
        code = self.code.lstrip("<>|=")
        if not _NUMBERS.fullmatch(code) or self.order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"it has an array of dtype {self.code}")
        return np.dtype(code).newbyteorder(self.order)


class _Array(_Inert):
    """An array as the pickle describes it."""

    __slots__ = ("parts",)

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __setstate__(self, state: Any) -> None:
        *_, shape, dtype, fortran, data = state
        self.parts = data, dtype, shape, "F" if fortran else "C"

    def made(self) -> np.ndarray:
        """The array."""
        data, dtype, shape, order = self.parts
        order = _text(order)
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray):
            raise pickle.UnpicklingError("it has an array of no numbers")
        if order not in ("C", "F"):
            raise pickle.UnpicklingError(f"it has an array of order {order}")
        values = np.frombuffer(data, dtype.made())
        whole = type(shape) is tuple and all(type(n) is int and n >= 0 for n in shape)
        if not whole or len(shape) > 32:
            raise pickle.UnpicklingError("it has an array of no shape")
        return values.reshape(shape, order=order).copy(order=order)


class _Maker(_Inert):
    """What a file may call."""

    __slots__ = ("_make",)

    def __init__(self, make: Any) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)


def _text(value: Any) -> str:
    """A string, which old pickles have as bytes."""
    text = value.decode("latin1") if isinstance(value, bytes) else value
    if not isinstance(text, str):
        raise pickle.UnpicklingError(f"it has a {type(value).__name__} for a name")
    return text


_RECONSTRUCT = _Maker(lambda kind, shape, code: _Array(b"", _Dtype("u1"), (0,), "C"))
_FROM_BUFFER = _Maker(_Array)
_ALLOWED = {
    ("numpy", "dtype"): _Maker(lambda code, align=False, copy=False: _Dtype(code)),
    ("numpy", "ndarray"): _Inert(),
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("numpy._core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("__builtin__", "bytes"): _Maker(lambda: b""),  # no bytes, in the old protocols
}


_REFUSED = b"".join(
    (
        # Sets, and what makes objects in other ways than calling a maker.
        *(pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET),
        *(pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX),
        *(pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.PERSID, pickle.BINPERSID),
    )
)


class _Counted(dict[int, Any]):
    """The unpickler's operations; ends one that goes on for too long."""

    steps = 0

    def __getitem__(self, key: int) -> Any:
        self.steps += 1
        if self.steps > _MOST_STEPS:
            raise pickle.UnpicklingError("it never comes to an end")
        if key in _REFUSED or key not in self:
            raise pickle.UnpicklingError(f"it has the operation {key:#x}")
        return super().__getitem__(key)


# The one in C fills memory with as many entries as a file of ten bytes asks for.
_Unpickler: Any = pickle._Unpickler  # pyrefly: ignore


class _ArrayUnpickler(_Unpickler):
    """Finds nothing but what arrays and bytes are made of.

    It neither hashes nor prints a value of the file that has parts: a few bytes make
    one of 2^40.
    """

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="bytes")
        self._room = file.getbuffer().nbytes
        own = {
            pickle.BYTEARRAY8[0]: _ArrayUnpickler._bytearray,
            pickle.DICT[0]: _ArrayUnpickler._dict,
            pickle.SETITEM[0]: _ArrayUnpickler._setitem,
            pickle.SETITEMS[0]: _ArrayUnpickler._setitems,
            pickle.PUT[0]: _ArrayUnpickler._put,
        }
        self.dispatch = _Counted({**_Unpickler.dispatch, **own})

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _Maker(self._latin1)
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ALLOWED[module, name]

    def takes(self, size: int) -> None:
        """Raises if what is made becomes larger than the file, as no true one does."""
        self._room -= size
        if self._room < 0:
            raise pickle.UnpicklingError("it uses the same bytes again and again")

    def _latin1(self, text: Any, encoding: Any) -> bytes:
        """The one use of ``codecs.encode``: bytes, in the old protocols."""
        if _text(encoding) != "latin1":
            raise pickle.UnpicklingError(f"encoding '{_text(encoding)}'")
        self.takes(len(_text(text)))
        return _text(text).encode("latin1")

    def _dict(self) -> None:
        parts = self.pop_mark()
        self.append({})
        self._set(parts)

    def _setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _setitems(self) -> None:
        self._set(self.pop_mark())

    def _set(self, parts: list[Any]) -> None:
        found = self.stack[-1]
        if type(found) is not dict or len(parts) % 2:
            raise pickle.UnpicklingError("it sets what is no entry of a dictionary")
        for key, value in zip(parts[::2], parts[1::2], strict=True):
            if type(key) not in (str, bytes):
                raise pickle.UnpicklingError(
                    f"it has a dictionary with a {type(key).__name__} for a name"
                )
            found[key] = value

    def _put(self) -> None:
        """As the library's, but of small numbers, which do not collide."""
        number = int(self.readline()[:-1])
        if not 0 <= number < 2**32:
            raise pickle.UnpicklingError(f"it has an entry of number {number}")
        self.memo[number] = self.stack[-1]

    def _bytearray(self) -> None:
        """As the library's, which first makes room for as much as the file says."""
        size = int.from_bytes(self.read(8), "little")
        found = self.read(min(size, 2**40))
        if len(found) != size:
            raise pickle.UnpicklingError("it is cut short")
        self.append(bytearray(found))


def load_pickle(path: Path) -> Any:
    """What the file holds: a plain Python value or a NumPy array of numbers or bytes,
    or a dictionary of them.

    Strings that Python 2 wrote come back as bytes.

    Raises:
      UserError: if the file is no pickle, is cut short, or asks for anything else.
    """
    with open_regular(path) as file:
        check_memory((file.seek(0, io.SEEK_END),), str(path))
        file.seek(0)
        content = io.BytesIO(file.read())
    try:
        unpickler = _ArrayUnpickler(content)
        found = unpickler.load()
        unpickler = _ArrayUnpickler(content)  # with room for the arrays
        if type(found) is dict:
            return {key: _made(unpickler, value) for key, value in found.items()}
        return _made(unpickler, found)
    except Exception as error:  # a damaged pickle raises nearly anything
        why = ascii(str(error)[:200])[1:-1]  # of what the file says, as it is
        raise UserError(
            f"{path}: not a readable pickle ({type(error).__name__}: {why}); "
            "expected one of plain values and NumPy arrays"
        ) from None


def _made(unpickler: _ArrayUnpickler, value: Any) -> Any:
    if isinstance(value, _Array):
        array = value.made()
        unpickler.takes(array.nbytes)
        return array
    return value.made() if isinstance(value, _Dtype) else value
