"""Compiled kernels for CPU: built once with the machine's C++ compiler, if it has one.

XLA:CPU compiles a depthwise convolution by shifts slowly and runs its weight gradient
slowly. `depthwise.cc` does both well. It is built on first use into the user's cache
folder (a few seconds). Where there is no compiler, or ``JDARTS_NATIVE=0`` is set, the
lowering in plain JAX serves: the same results, more slowly.
"""

import ctypes
import functools
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import jax
import jaxlib
import numpy as np

from jdarts.compile import cache_folder
from jdarts.ops.windows import Window

__all__ = ["available", "depthwise"]

_log = logging.getLogger("jdarts")
_SOURCE = Path(__file__).with_name("depthwise.cc")
_FLAGS = ("-O3", "-march=native", "-std=c++17", "-fPIC", "-shared", "-w")
_HANDLERS = (
    "jdarts_depthwise_conv",
    "jdarts_depthwise_input_grad",
    "jdarts_depthwise_weight_grad",
)
_KERNELS = (1, 3, 5, 7)


@functools.cache
def available() -> bool:
    """Whether the kernels are built (now, if need be) and known to XLA."""
    if os.environ.get("JDARTS_NATIVE", "1") == "0":
        return False
    try:
        library = ctypes.CDLL(str(_build()))
    except (OSError, subprocess.SubprocessError) as error:
        _log.warning(
            "no compiled CPU kernels (%s); searching goes on with slower ones. "
            "They need a C++17 compiler (c++, g++ or clang++)",
            str(error).splitlines()[0] if str(error) else type(error).__name__,
        )
        return False
    for name in _HANDLERS:
        handler = jax.ffi.pycapsule(getattr(library, name))
        jax.ffi.register_ffi_target(name, handler, platform="cpu")
    return True


def _build() -> Path:
    """The shared library, compiled unless it is in the cache."""
    compiler = next((c for c in ("c++", "g++", "clang++") if shutil.which(c)), None)
    if compiler is None:
        raise OSError("no C++ compiler found")
    parts = (_SOURCE.read_bytes(), " ".join((compiler, *_FLAGS)).encode())
    digest = hashlib.sha256(b"\0".join((*parts, jaxlib.__version__.encode())))
    library = cache_folder() / f"kernels-{digest.hexdigest()[:16]}.so"
    if library.exists():
        return library
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / "kernels.so"
        include = f"-I{jax.ffi.include_dir()}"
        command = [compiler, *_FLAGS, include, str(_SOURCE), "-o", str(made)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if result.returncode:
            raise OSError(f"{compiler} failed: {result.stderr.strip()[:200]}")
        os.replace(made, library)  # two processes may build at once: either's will do
    return library


def depthwise(
    name: str, window: Window, out: tuple[int, ...], a: jax.Array, b: jax.Array
) -> jax.Array | None:
    """Calls a kernel, if there is one for these arguments.

    Args:
      name: ``conv``, ``input_grad`` or ``weight_grad``.
      window: the window.
      out: shape of the result.
      a: first operand, see `jdarts.ops.depthwise`.
      b: second operand.

    Returns:
      The result; None where the lowering in plain JAX has to serve: other dtypes and
      kernel sizes, and several devices (XLA cannot divide a foreign call over them).
    """
    if (
        a.dtype not in (np.float32, np.float64)
        or window.kernel not in _KERNELS
        or jax.local_device_count("cpu") > 1
        or not available()
    ):
        return None
    return jax.ffi.ffi_call(
        f"jdarts_depthwise_{name}", jax.ShapeDtypeStruct(out, a.dtype)
    )(
        a,
        b,
        kernel=np.int64(window.kernel),
        stride=np.int64(window.stride),
        dilation=np.int64(window.dilation),
    )
