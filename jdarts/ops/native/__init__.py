"""Compiled kernels for CPU: built once with the machine's C++ compiler, if it has one.

XLA:CPU takes long to compile convolutions, pools and normalisers of many edges, and
runs some of them slowly (a depthwise weight gradient eight times more slowly). The
kernels here are built into the user's cache folder as they are needed
(`jdarts.ops.native.build`). Where there is no compiler, or ``JDARTS_NATIVE=0`` is set,
the lowering in plain JAX serves: the same results up to rounding, more slowly.
"""

import ctypes
import logging
import math
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jdarts.errors import UserError
from jdarts.ops.native.build import (
    HANDLERS,
    USED,
    Library,
    build_ahead,
    built,
    compiler,
    in_cache,
)
from jdarts.ops.windows import Window
from jdarts.phase import phase
from jdarts.stopwatch import KERNELS

__all__ = [
    "available",
    "call",
    "call_or",
    "call_over",
    "depthwise",
    "expected",
    "pool",
    "prepare",
    "register_built",
    "usable",
]

_log = logging.getLogger("jdarts")
_SOURCE = {name: source for source, names in HANDLERS.items() for name in names}
_lock = threading.Lock()  # programs may be compiled side by side
_known: set[Library] = set()  # to XLA
_broken = False


def expected() -> bool:
    """Whether there are kernels: they are wanted, and what was asked for could be built
    so far; there is a compiler.

    Raises:
      UserError: if JDARTS_NATIVE is neither 0 nor 1.
    """
    wish = os.environ.get("JDARTS_NATIVE", "1")
    if wish not in ("0", "1"):
        raise UserError(f"JDARTS_NATIVE: found '{wish}', expected 0 or 1")
    if wish == "0" or _broken:
        return False
    if compiler() is None:
        _give_up(OSError("no C++ compiler found"))
    return not _broken


def prepare(run: str) -> None:
    """Begins to build, in the background, what networks of a run call in float32.

    Args:
      run: a row of USED.
    """
    if jax.default_backend() == "cpu" and _one_device() and expected():
        build_ahead([Library(source) for source in USED[run]])


def available(*names: str, dtype: Any = np.float32) -> bool:
    """Whether kernels are built (now, if need be) and known to XLA.

    Args:
      *names: of handlers; by default all that searches on images call.
      dtype: of their arrays.
    """
    wide = np.dtype(dtype) == np.float64
    sources = {_SOURCE[name]: None for name in names} or USED["image search"]
    needed = [Library(source, wide) for source in sources]
    if not expected():
        return False
    build_ahead(needed)
    return all(map(_register, needed))


def register_built() -> None:
    """Makes all kernels that are in the cache known to XLA, for stored programs."""
    if _one_device() and expected():
        for source in HANDLERS:
            for wide in (False, True):
                if in_cache(Library(source, wide)):
                    _register(Library(source, wide))


def _register(library: Library) -> bool:
    """Makes a library's handlers known to XLA."""
    with _lock:
        if library in _known:
            return True
        try:
            with KERNELS, phase("building the CPU kernels, which are kept"):
                code = ctypes.CDLL(str(built(library)))
        except OSError as error:
            _give_up(error)
            return False
        for name in HANDLERS[library.source]:
            handler = jax.ffi.pycapsule(getattr(code, f"jdarts_{name}"))
            target = _target(name, library.wide)
            jax.ffi.register_ffi_target(target, handler, platform="cpu")
        _known.add(library)
        return True


def _target(name: str, wide: bool) -> str:
    """What XLA knows a handler as."""
    return f"jdarts_{name}" + "_f64" * wide


def _give_up(error: Exception) -> None:
    global _broken
    if not _broken:
        _broken = True
        _log.warning(
            "no compiled CPU kernels (%s); searching goes on with slower ones. "
            "They need a C++17 compiler (c++, g++ or clang++)",
            str(error).splitlines()[0] if str(error) else type(error).__name__,
        )


def _one_device() -> bool:
    """XLA cannot divide a foreign call over several devices."""
    return jax.local_device_count("cpu") == 1


def usable(name: str, dtype: np.dtype) -> bool:
    """Whether a kernel can serve for arrays of this type; it is built if need be.

    Args:
      name: of the handler.
      dtype: of the arrays.
    """
    return (
        dtype in (jnp.bfloat16, np.float32, np.float64)
        and _one_device()
        and available(name, dtype=dtype)
    )


def call(name: str, out: Any, *args: jax.Array, **attributes: Any) -> Any:
    """Calls a kernel. The kernels know no bfloat16: they compute in float32 then.

    Args:
      name: one of the handlers.
      out: shape and dtype of the result, or of each of several.
      *args: its operands.
      **attributes: its static parameters.
    """
    wide = jax.tree.map(lambda o: jax.ShapeDtypeStruct(o.shape, _wide(o.dtype)), out)
    args = tuple(a.astype(_wide(a.dtype)) for a in args)
    target = _target(name, args[0].dtype == np.float64)
    result = jax.ffi.ffi_call(target, wide)(*args, **attributes)
    return jax.tree.map(lambda r, o: r.astype(o.dtype), result, out)


def call_over(
    name: str, out: Any, arrays: Sequence[jax.Array], lead: tuple, **attributes: Any
) -> Any:
    """`call`, over any number of leading axes.

    Args:
      name: one of the handlers, which takes and gives arrays with one leading axis.
      out: shape and dtype of the result, or of each of several, with all leading axes.
      arrays: the operands, with all leading axes.
      lead: those axes.
      **attributes: its static parameters.
    """
    count = math.prod(lead)

    def flat(a: Any) -> Any:
        return a.reshape(count, *a.shape[len(lead) :])

    shapes = jax.tree.map(
        lambda o: jax.ShapeDtypeStruct((count, *o.shape[len(lead) :]), o.dtype), out
    )
    found = call(name, shapes, *map(flat, arrays), **attributes)
    return jax.tree.map(lambda f, o: f.reshape(o.shape), found, out)


def call_or(
    name: str,
    plain: Callable[..., Any],
    arrays: Sequence[jax.Array],
    lead: tuple,
    **attributes: Any,
) -> Any:
    """`call_over` where the kernels can serve for the first operand's type, or `plain`.

    Args:
      name: one of the handlers.
      plain: ``plain(*arrays)``, the same in plain JAX.
      arrays: the operands, with all leading axes.
      lead: those axes.
      **attributes: the handler's static parameters.
    """
    if not usable(name, arrays[0].dtype):
        return plain(*arrays)
    out = jax.eval_shape(plain, *arrays)
    return call_over(name, out, arrays, lead, **attributes)


def _wide(dtype: np.dtype) -> np.dtype:
    return np.dtype(np.float32) if dtype == jnp.bfloat16 else dtype


def depthwise(
    name: str, window: Window, out: tuple[int, ...], a: jax.Array, b: jax.Array
) -> jax.Array | None:
    """A depthwise convolution (``conv``, ``input_grad`` or ``weight_grad``).

    Args:
      name: which of them.
      window: the window.
      out: shape of the result.
      a: first operand, see `jdarts.ops.depthwise`.
      b: second operand.

    Returns:
      The result; None where the lowering in plain JAX has to serve.
    """
    name = f"depthwise_{name}"
    known = window.kernel in (3, 5, 7) and a.dtype == b.dtype
    if not known or not usable(name, a.dtype):
        return None
    return call(
        name,
        jax.ShapeDtypeStruct(out, a.dtype),
        a,
        b,
        kernel=np.int64(window.kernel),
        stride=np.int64(window.stride),
        dilation=np.int64(window.dilation),
    )


def pool(
    name: str, window: Window, out: jax.ShapeDtypeStruct, *args: jax.Array
) -> jax.Array | None:
    """A pooling function (a ``pool_...`` handler), over any leading axes.

    Args:
      name: which of them, without ``pool_``.
      window: the window.
      out: shape and dtype of the result.
      *args: its operands, see `jdarts.ops.pool`.

    Returns:
      The result; None where the lowering in plain JAX has to serve.
    """
    name, known = f"pool_{name}", window.dilation == 1 and window.kernel <= 11
    if not known or not usable(name, args[0].dtype):
        return None
    sides = {"kernel": np.int64(window.kernel), "stride": np.int64(window.stride)}
    return call_over(name, out, args, out.shape[:-3], **sides)
