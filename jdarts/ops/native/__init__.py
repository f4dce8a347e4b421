"""Compiled kernels for CPU: built once with the machine's C++ compiler, if it has one.

XLA:CPU takes long to compile convolutions, pools and normalisers of many edges, and
runs some of them slowly (a depthwise weight gradient eight times more slowly). The
kernels here are built on first use into the user's cache folder (some seconds). Where
there is no compiler, or ``JDARTS_NATIVE=0`` is set, the lowering in plain JAX serves:
the same results up to rounding, more slowly.
"""

import atexit
import concurrent.futures
import contextlib
import ctypes
import functools
import hashlib
import logging
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np

from jdarts.compile import cache_folder
from jdarts.errors import UserError
from jdarts.ops.windows import Window
from jdarts.trust import trusted, trusted_folder

__all__ = ["available", "call", "call_or", "call_over", "depthwise", "pool", "usable"]

_log = logging.getLogger("jdarts")
_FOLDER = Path(__file__).parent
_SOURCES = (
    "affine_norm.cc",
    "blend.cc",
    "depthwise.cc",
    "mixture.cc",
    "norm.cc",
    "pack.cc",
    "pool.cc",
    "relu_product.cc",
    "stage.cc",
    "vocabulary.cc",
)
_HEADERS = ("by_type.h", "exp.h", "micro.h", "norm.h", "panel.h", "parallel.h")
_FLAGS = ("-O3", "-march=native", "-std=c++17", "-fPIC", "-w")
_HANDLERS = (
    "blend_inner",
    "blend_product",
    "depthwise_conv",
    "depthwise_input_grad",
    "depthwise_weight_grad",
    "mixture",
    "mixture_output",
    "mixture_input",
    "norm_affine",
    "norm_affine_pull",
    "norm_standardise",
    "norm_project",
    "norm_project_tangent",
    "pack",
    "pool_winner",
    "pool_select",
    "pool_select_transposed",
    "pool_average",
    "pool_average_transposed",
    "relu_product",
    "relu_product_pull",
    "relu_product_outer",
    "stage_output",
    "stage_input",
    "unpack",
    "vocabulary",
    "vocabulary_push",
    "vocabulary_pull",
)


@functools.cache
def available() -> bool:
    """Whether the kernels are built (now, if need be) and known to XLA."""
    wish = os.environ.get("JDARTS_NATIVE", "1")
    if wish not in ("0", "1"):
        raise UserError(f"JDARTS_NATIVE: found '{wish}', expected 0 or 1")
    if wish == "0":
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
        handler = jax.ffi.pycapsule(getattr(library, f"jdarts_{name}"))
        jax.ffi.register_ffi_target(f"jdarts_{name}", handler, platform="cpu")
    return True


def _build() -> Path:
    """The shared library, compiled unless it is in the cache."""
    compiler = next((c for c in ("c++", "g++", "clang++") if shutil.which(c)), None)
    if compiler is None:
        raise OSError("no C++ compiler found")
    texts = [(_FOLDER / name).read_bytes() for name in _SOURCES + _HEADERS]
    versions = " ".join((compiler, *_FLAGS, jaxlib.__version__)).encode()
    digest = hashlib.sha256(b"\0".join([*texts, versions])).hexdigest()[:16]
    library = _folder() / f"kernels-{digest}.so"
    with contextlib.suppress(FileNotFoundError):
        if trusted(library):
            return library
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        compile_one = functools.partial(_compile, compiler, Path(scratch))
        with concurrent.futures.ThreadPoolExecutor() as pool:
            objects = list(pool.map(compile_one, _SOURCES))
        made = Path(scratch) / "kernels.so"
        _run(compiler, "-shared", *objects, "-o", str(made))
        made.chmod(0o600)
        os.replace(made, library)  # two processes may build at once: either's will do
    return library


def _folder() -> Path:
    """Where the library is kept: for this process alone if others can write the cache,
    because it is run as it is."""
    folder = cache_folder()
    if trusted_folder(folder):
        return folder
    private = tempfile.mkdtemp(prefix="jdarts-")
    atexit.register(shutil.rmtree, private, ignore_errors=True)
    return Path(private)


def _compile(compiler: str, scratch: Path, source: str) -> str:
    made = str(scratch / f"{source}.o")
    include = f"-I{jax.ffi.include_dir()}"
    _run(compiler, *_FLAGS, include, "-c", str(_FOLDER / source), "-o", made)
    return made


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise OSError(f"{command[0]} failed: {done.stderr.strip()[:200]}")


def usable(dtype: np.dtype) -> bool:
    """Whether the kernels can serve for arrays of this type.

    Not with several devices: XLA cannot divide a foreign call over them.
    """
    return (
        dtype in (jnp.bfloat16, np.float32, np.float64)
        and jax.local_device_count("cpu") == 1
        and available()
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
    result = jax.ffi.ffi_call(f"jdarts_{name}", wide)(*args, **attributes)
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
    if not usable(arrays[0].dtype):
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
    if window.kernel not in (3, 5, 7) or a.dtype != b.dtype or not usable(a.dtype):
        return None
    return call(
        f"depthwise_{name}",
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
    if window.dilation != 1 or window.kernel > 11 or not usable(args[0].dtype):
        return None
    sides = {"kernel": np.int64(window.kernel), "stride": np.int64(window.stride)}
    return call_over(f"pool_{name}", out, args, out.shape[:-3], **sides)
