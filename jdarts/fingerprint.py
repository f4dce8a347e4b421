"""A digest of what a function computes, without tracing it.

Two functions made by the same code from equal settings have the same digest, in every
process; so a compiled program can be found again before it is traced.
"""

import dataclasses
import enum
import functools
import hashlib
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

__all__ = ["NoFingerprint", "fingerprint"]


class NoFingerprint(Exception):
    """A value that a function depends on cannot be digested."""


def fingerprint(*values: Any) -> str:
    """The digest of functions and of what they hold.

    Of a function: its code, the defaults of its arguments, what it closes over, and the
    plain constants of its module that it names. The code of other functions that it
    names is not followed: whoever keeps digests adds one of the source files.

    Args:
      *values: functions, dataclasses, arrays, plain values, and containers of them.

    Raises:
      NoFingerprint: if there is something else among them.
    """
    digest = _Digest()
    for value in values:
        digest.add(value)
    return digest.hash.hexdigest()


# What `str` says all about, and always in the same words.
_PLAIN = (bool, int, float, complex, str, bytes, np.dtype, np.generic, enum.Enum)
_BY_TEXT = (
    jax.Device,
    jax.ShapeDtypeStruct,
    jax.sharding.Mesh,
    jax.sharding.Sharding,
)


class _Digest:
    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self._seen: dict[int, int] = {}
        self._alive: list[Any] = []  # so that no number is used twice

    def add(self, value: Any) -> None:
        if value is None or isinstance(value, (*_PLAIN, *_BY_TEXT)):
            return self._write(type(value).__qualname__, repr(value))
        if id(value) in self._seen:
            return self._write("again", self._seen[id(value)])
        self._seen[id(value)] = len(self._seen)
        self._alive.append(value)
        self._write(type(value).__module__, type(value).__qualname__)
        for part in self._parts(value):
            self.add(part)
        self._write("end")

    def _write(self, *words: Any) -> None:
        self.hash.update("\0".join(map(str, words)).encode() + b"\1")

    def _parts(self, value: Any) -> list[Any]:
        """What an object consists of."""
        if isinstance(value, np.ndarray | jax.Array):
            return _array(value)
        if isinstance(value, tuple | list):
            return list(value)
        if isinstance(value, set | frozenset):
            return sorted(value, key=repr)
        if isinstance(value, Mapping):
            return [part for item in value.items() for part in item]
        if isinstance(value, type | types.ModuleType | types.BuiltinFunctionType):
            return [getattr(value, "__module__", ""), value.__name__]
        if isinstance(value, types.CodeType):
            return [value.co_code, value.co_names, value.co_consts]
        if isinstance(value, functools.partial):
            return [value.func, value.args, value.keywords]
        if isinstance(value, types.MethodType):
            return [value.__func__, value.__self__]
        if isinstance(value, types.FunctionType):
            return _function(value)
        return _object(value)


def _array(value: np.ndarray | jax.Array) -> list[Any]:
    if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    host = np.asarray(value)
    return [str(host.dtype), host.shape, host.tobytes()]


def _function(value: types.FunctionType) -> list[Any]:
    cells = [cell.cell_contents for cell in value.__closure__ or ()]
    constants = [value.__globals__.get(name) for name in value.__code__.co_names]
    constants = [c for c in constants if isinstance(c, (*_PLAIN, tuple))]
    names = [value.__module__, value.__qualname__]
    defaults = [value.__defaults__, value.__kwdefaults__]
    return [*names, value.__code__, *defaults, cells, constants]


def _object(value: Any) -> list[Any]:
    if dataclasses.is_dataclass(value):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    wrapped: Callable | None = inspect.unwrap(value) if callable(value) else None
    if wrapped is not None and wrapped is not value:  # jax.jit, jax.custom_jvp
        return [wrapped]
    if not hasattr(value, "__dict__"):
        raise NoFingerprint(type(value).__qualname__)
    return [vars(value)]
