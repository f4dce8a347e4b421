"""A digest of what a function computes, without tracing it.

Two functions made by the same code from equal settings have the same digest, in every
process; so a compiled program can be found again before it is traced.
"""

import dataclasses
import enum
import functools
import hashlib
import types
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

__all__ = ["VERSIONED", "NoFingerprint", "fingerprint"]

VERSIONED = {"builtins", "flax", "functools", "jax", "jaxlib", "jdarts", "optax"}
"""Packages whose code goes by its own version or digest; see `fingerprint`."""


class NoFingerprint(Exception):
    """A value that a function depends on cannot be digested."""


def fingerprint(*values: Any) -> str:
    """The digest of functions and of what they hold.

    Of a function: its code, the defaults of its arguments, what it closes over, and the
    plain constants of its module that it names. The code of what else it names is not
    followed: functions and classes have to be of the packages `VERSIONED`, and whoever
    keeps digests adds the versions of these.

    Args:
      *values: functions, dataclasses, arrays, plain values, and containers of them.

    Raises:
      NoFingerprint: if there is something else among them.
    """
    digest = _Digest()
    for value in values:
        digest.add(value)
    return digest.hash.hexdigest()


# What `repr` says all about, and always in the same words.
_PLAIN = (bool, int, float, complex, str, bytes, np.dtype, np.generic, enum.Enum)
_JIT = type(jax.jit(lambda: None))


class _Digest:
    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self._seen: dict[int, int] = {}
        self._alive: list[Any] = []  # so that no number is used twice

    def add(self, value: Any) -> None:
        if value is None or isinstance(value, _PLAIN):
            return self._write(type(value).__qualname__, repr(value))
        if id(value) in self._seen:
            return self._write("again", self._seen[id(value)])
        self._seen[id(value)] = len(self._seen)
        self._alive.append(value)
        self._write(type(value).__module__, type(value).__qualname__)
        for part in _parts(value):
            self.add(part)
        self._write("end")

    def _write(self, *words: Any) -> None:
        self.hash.update("\0".join(map(str, words)).encode() + b"\1")


def _parts(value: Any) -> list[Any]:
    """What an object consists of."""
    if isinstance(value, tuple | list):
        return list(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, Mapping):
        return [part for item in value.items() for part in item]
    if isinstance(value, types.CodeType):
        return [value.co_code, value.co_names, value.co_consts]
    if isinstance(value, types.ModuleType):
        return [value.__name__]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, _JIT):
        return [getattr(value, "__wrapped__")]  # noqa: B009
    if isinstance(value, jax.custom_jvp):
        return [value.fun, value.jvp]
    if isinstance(value, jax.custom_vjp):
        return [value.fun, value.fwd, value.bwd]
    return _of_jax(value) or _of_code(value)


def _of_jax(value: Any) -> list[Any]:
    """Arrays, and where they are; nothing of another value."""
    if isinstance(value, np.ndarray | jax.Array):
        if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            value = jax.random.key_data(value)
        host = np.asarray(value)
        return [str(host.dtype), host.shape, host.tobytes()]
    if isinstance(value, jax.ShapeDtypeStruct):
        return [value.shape, str(value.dtype), value.sharding]
    if isinstance(value, jax.Device):
        return [value.platform, value.id]
    if isinstance(value, jax.sharding.Mesh):
        devices = [device.id for device in value.devices.flat]
        return [value.axis_names, repr(value.axis_types), value.devices.shape, devices]
    if isinstance(value, jax.sharding.NamedSharding):
        return [value.mesh, repr(value.spec), value.memory_kind]
    if isinstance(value, jax.sharding.SingleDeviceSharding):
        return [sorted(device.id for device in value.device_set), value.memory_kind]
    return []


def _of_code(value: Any) -> list[Any]:
    """Functions, classes, and dataclasses."""
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, types.BuiltinFunctionType):
        if not isinstance(value.__self__, types.ModuleType | None):
            raise NoFingerprint(value.__qualname__)
        return [value.__module__, value.__qualname__]
    if isinstance(value, types.FunctionType):
        _check_versioned(value)
        return _function(value)
    if isinstance(value, type):
        _check_versioned(value)
        return [value.__module__, value.__qualname__]
    if dataclasses.is_dataclass(value):
        fields = [getattr(value, field.name) for field in dataclasses.fields(value)]
        return [type(value), *fields]
    raise NoFingerprint(type(value).__qualname__)


def _check_versioned(value: Any) -> None:
    package = (value.__module__ or "").partition(".")[0]
    local = isinstance(value, type) and "<locals>" in value.__qualname__
    if package not in VERSIONED or local:
        raise NoFingerprint(f"{value.__module__}.{value.__qualname__}")


def _function(value: types.FunctionType) -> list[Any]:
    cells = [cell.cell_contents for cell in value.__closure__ or ()]
    constants = [value.__globals__.get(name) for name in _names(value.__code__)]
    constants = [c for c in constants if isinstance(c, (*_PLAIN, tuple))]
    names = [value.__module__, value.__qualname__]
    defaults = [value.__defaults__, value.__kwdefaults__]
    return [*names, value.__code__, *defaults, cells, constants]


def _names(code: types.CodeType) -> list[str]:
    """What a function and the functions inside of it name."""
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return [*code.co_names, *(name for c in inner for name in _names(c))]
