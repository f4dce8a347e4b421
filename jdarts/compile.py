"""`jit` with the compiler options that jdarts' kernels are written for; the cache."""

import contextlib
import ctypes
import functools
import hashlib
import logging
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jaxlib

from jdarts.phase import phase
from jdarts.stopwatch import KERNELS
from jdarts.trust import trusted_folder

__all__ = [
    "Compiled",
    "cache_folder",
    "compile_timed",
    "compiler_options",
    "enable_cache",
    "jit",
    "programs_folder",
    "return_unused_memory",
    "temp_bytes",
]

_log = logging.getLogger("jdarts")
# XLA:CPU normally drops optimization barriers before it fuses, which makes them
# useless as fences (`jdarts.ops.fence`): the first of these passes does. The second
# makes loops of few bytes one kernel, in which the XLA of JAX 0.12 knows no barrier.
_CPU_OPTIONS = {
    "xla_disable_hlo_passes": "cse_barrier_expander,small-while-loop-hoisting"
}


def compiler_options(platform: str | None = None) -> dict[str, Any]:
    """XLA options for a platform (``"cpu"``, ``"gpu"``, ``"tpu"``).

    Args:
      platform: the platform; by default that of jax's default backend.
    """
    return dict(_CPU_OPTIONS) if (platform or jax.default_backend()) == "cpu" else {}


def jit(fun: Callable[..., Any], **options: Any) -> Any:
    """`jax.jit` with `compiler_options` of the default backend.

    Results are the same without it up to rounding; on CPU fences then have no effect
    and a search step is slower.

    Args:
      fun: the function to compile; only for the outermost one, not inside another jit.
      **options: passed on to `jax.jit`.
    """
    return jax.jit(fun, compiler_options=compiler_options(), **options)


class Compiled(NamedTuple):
    """A compiled function and what it cost to make.

    Attributes:
      call: the function.
      trace_seconds: from Python to a StableHLO program: tracing and lowering.
      lower_seconds: the part of it that lowering took.
      compile_seconds: from there to machine code, or to reading the cache.
      temp_bytes: memory that one call needs beyond arguments and results; None where
        the platform does not say.
      kernel_seconds: what it waited for CPU kernels to be built; in none of the others.
    """

    call: Callable[..., Any]
    trace_seconds: float
    lower_seconds: float
    compile_seconds: float
    temp_bytes: int | None
    kernel_seconds: float = 0.0


def compile_timed(fun: Callable[..., Any], *args: Any, **options: Any) -> Compiled:
    """Compiles a function for these arguments, and takes the time.

    Args:
      fun: the function.
      *args: arrays or ``jax.ShapeDtypeStruct`` with shardings.
      **options: as for `jit`.
    """
    start, before = time.perf_counter(), KERNELS.seconds
    with phase("tracing"):
        traced = jit(fun, **options).trace(*args)
        lowering = time.perf_counter()
        lowered = traced.lower()  # calls kernels, which have to be there from here on
    waited = KERNELS.since(before)
    compiling = time.perf_counter()
    with phase("compiling"):
        compiled = lowered.compile()
    done = time.perf_counter()
    return_unused_memory()
    return Compiled(
        compiled,
        compiling - start - waited,
        compiling - lowering - waited,
        done - compiling,
        temp_bytes(compiled),
        waited,
    )


def return_unused_memory() -> None:
    """Gives freed memory back to the system, where the C library is able to.

    Compiling or loading a search step leaves hundreds of MiB behind that the C library
    would keep, and that come on top of what the step then needs.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def temp_bytes(program: Any) -> int | None:
    """`Compiled.temp_bytes` of a compiled function of jax."""
    return getattr(program.memory_analysis(), "temp_size_in_bytes", None)


def cache_folder() -> Path:
    """Where compiled code is kept: in the user's cache folder (``XDG_CACHE_HOME``).

    One folder per jaxlib version and processor: code made for another processor may not
    run.
    """
    machine = hashlib.sha256(_processor().encode()).hexdigest()[:8]
    return _user_cache() / "jdarts" / f"jaxlib-{jaxlib.__version__}-{machine}"


def _user_cache() -> Path:
    """The user's folder of caches."""
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"])
    try:
        return Path.home() / ".cache"
    except RuntimeError:  # neither HOME nor an entry in the table of users
        return _cache_without_home()


@functools.cache  # it is said once
def _cache_without_home() -> Path:
    """A folder among temporary files that is this user's alone."""
    folder = Path(tempfile.gettempdir()) / f"jdarts-cache-{os.getuid()}"
    _log.warning(
        "this user has no home folder; compiled code is kept in %s (XDG_CACHE_HOME "
        "chooses another folder)",
        folder,
    )
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def enable_cache() -> Path | None:
    """Keeps compiled programs on disk, so that the next start need not compile.

    Does nothing where the user has chosen a folder (``JAX_COMPILATION_CACHE_DIR``), or
    where others can write `cache_folder` (see `jdarts.trust`), which it says.

    Returns:
      The folder in use; by default `cache_folder`. None if there is none.
    """
    chosen = jax.config.values["jax_compilation_cache_dir"]
    if chosen:
        return Path(str(chosen))
    folder = cache_folder()
    if not trusted_folder(folder):
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    return folder


def programs_folder() -> Path | None:
    """Where whole programs are kept (see `jdarts.program_store`).

    In `cache_folder`, if that is in use; None where there is no cache, or one that the
    user has chosen.
    """
    own = cache_folder()
    in_use = jax.config.values["jax_compilation_cache_dir"] == str(own)
    return own / "programs" if in_use else None


def _processor() -> str:
    """The processor's model and abilities, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    wanted = ("model name", "flags", "Features", "CPU part")
    return "".join(sorted({line for line in lines if line.startswith(wanted)}))
