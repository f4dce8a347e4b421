"""Building the kernels: each C++ file, for one type of numbers, is a library.

A program waits only for the libraries that it calls. They are built side by side, and
ahead of time once it is known what will be searched (`build_ahead`), so that the C++
compiler works while data are read and programs are traced. Everything is kept in the
user's cache folder.
"""

import atexit
import collections
import contextlib
import functools
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

import jax
import jaxlib

from jdarts.compile import cache_folder
from jdarts.trust import trusted, trusted_folder

__all__ = [
    "HANDLERS",
    "USED",
    "Library",
    "build_ahead",
    "built",
    "compiler",
    "in_cache",
]

HANDLERS = {
    "affine_norm": ("norm_affine", "norm_affine_pull"),
    "blend": ("blend_inner", "blend_product"),
    "depthwise": (
        "depthwise_conv",
        "depthwise_input_grad",
        "depthwise_weight_grad",
    ),
    "mixture": ("mixture", "mixture_output", "mixture_input"),
    "norm": (
        "norm_standardise",
        "norm_project",
        "norm_project_tangent",
    ),
    "pack": ("pack", "unpack"),
    "pool": (
        "pool_winner",
        "pool_select",
        "pool_select_transposed",
        "pool_average",
        "pool_average_transposed",
    ),
    "relu_product": ("relu_product", "relu_product_pull", "relu_product_outer"),
    "stage": ("stage_output", "stage_input"),
    "vocabulary": ("vocabulary", "vocabulary_push", "vocabulary_pull"),
}
"""Each C++ file and the handlers that it defines."""

USED = {
    "image search": (
        "pack",
        "stage",
        "mixture",
        "norm",
        "pool",
        "blend",
        "relu_product",
        "affine_norm",
    ),
    "image training": ("pack", "stage", "pool", "relu_product", "affine_norm"),
    "text": ("pack", "vocabulary"),
}
"""What the networks of a kind of run call: built ahead, in this order."""

_FOLDER = Path(__file__).parent
_FLAGS = ("-O3", "-march=native", "-std=c++17", "-fPIC", "-shared", "-w")
_COMPILERS = ("c++", "g++", "clang++")
_SCRATCH = "building-"
_SCRATCH_SECONDS = 86400.0  # no compiler takes as long: left by a killed process
_STOP_SECONDS = 5.0


class Library(NamedTuple):
    """One library.

    Attributes:
      source: a row of HANDLERS.
      wide: whether it computes in float64; otherwise in float32.
    """

    source: str
    wide: bool = False


@functools.cache
def compiler() -> str | None:
    """The C++ compiler; None: there is none."""
    return next((c for c in _COMPILERS if shutil.which(c)), None)


def build_ahead(libraries: list[Library]) -> None:
    """Begins to build libraries; `built` waits for them. Needs a compiler."""
    _builder.begin(libraries)


def built(library: Library) -> Path:
    """The library's file, built now unless it is in the cache or being built.

    Raises:
      OSError: if it cannot be built.
    """
    return _builder.begin([library])[0].result()


class _Builder:
    """Builds libraries in the order asked for, one a processor at a time.

    By daemon threads: a process that ends early does not wait for what it began, but
    ends it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[Library, Future[Path]] = {}
        self._left: collections.deque[Library] = collections.deque()
        self._working = 0

    def begin(self, libraries: list[Library]) -> list["Future[Path]"]:
        with self._lock:
            for library in libraries:
                if library not in self._asked:
                    self._asked[library] = Future()
                    self._left.append(library)
            for _ in range(min(_processors() - self._working, len(self._left))):
                self._working += 1
                thread = threading.Thread(target=self._work, daemon=True)
                thread.start()
                _threads.append(thread)
            return [self._asked[library] for library in libraries]

    def _work(self) -> None:
        while True:
            with self._lock:
                if _ended.is_set() or not self._left:
                    self._working -= 1
                    return
                library = self._left.popleft()
            try:
                self._asked[library].set_result(_build(library))
            except BaseException as error:  # for the thread that waits
                self._asked[library].set_exception(error)


_threads: list[threading.Thread] = []
_builder = _Builder()


def in_cache(library: Library) -> bool:
    """Whether the library is there, built before. Needs a compiler."""
    with contextlib.suppress(FileNotFoundError):
        return trusted(_file(library))
    return False


def _processors() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # not Linux


def _flags(library: Library) -> tuple[str, ...]:
    return *_FLAGS, f"-DJDARTS_REAL={'double' if library.wide else 'float'}"


def _source(library: Library) -> Path:
    return _FOLDER / f"{library.source}.cc"


def _file(library: Library) -> Path:
    """Where the library is kept; named by all that it depends on."""
    texts = [header.read_bytes() for header in sorted(_FOLDER.glob("*.h"))]
    versions = " ".join((str(compiler()), *_flags(library), jaxlib.__version__))
    parts = [_source(library).read_bytes(), *texts, versions.encode()]
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    return _folder() / f"kernels-{library.source}-{digest}.so"


def _build(library: Library) -> Path:
    """The library's file, compiled unless it is in the cache."""
    program = compiler()
    if program is None:
        raise OSError("no C++ compiler found")
    made = _file(library)
    if in_cache(library):
        return made
    _sweep(made.parent)
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=made.parent) as scratch:
        new = Path(scratch) / "kernels.so"
        include, source = f"-I{jax.ffi.include_dir()}", str(_source(library))
        _run(program, *_flags(library), include, source, "-o", str(new))
        new.chmod(0o600)
        os.replace(new, made)  # two processes may build at once: either's will do
    return made


@functools.cache
def _private() -> Path:
    return Path(tempfile.mkdtemp(prefix="jdarts-"))


def _folder() -> Path:
    """Where libraries are kept: for this process alone if others can write the cache,
    because they are run as they are."""
    folder = cache_folder()
    return folder if trusted_folder(folder) else _private()


def _sweep(folder: Path) -> None:
    """Removes what processes left that were killed while they compiled."""
    for scratch in folder.glob(f"{_SCRATCH}*"):
        with contextlib.suppress(OSError):  # another process removes it, too
            if time.time() - scratch.stat().st_mtime > _SCRATCH_SECONDS:
                shutil.rmtree(scratch)


_starting = threading.Lock()
_ended = threading.Event()  # this process ends: nothing more is compiled
_running: set[subprocess.Popen] = set()


@atexit.register
def _stop() -> None:
    """Ends compilers, and waits until they and this process have tidied up."""
    with _starting:
        _ended.set()
        for process in _running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
    for thread in _threads:
        thread.join(_STOP_SECONDS)
    if _private.cache_info().currsize:
        shutil.rmtree(_private(), ignore_errors=True)


def _run(*command: str) -> None:
    """Runs a compiler in a process group, for it starts others; a terminal's Ctrl-C
    does not reach it. Its temporary files lie beside its result."""
    with _starting:
        if _ended.is_set():
            raise OSError("the process ends")
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=os.environ | {"TMPDIR": str(Path(command[-1]).parent)},
            process_group=0,
            text=True,
            errors="replace",
        )
        _running.add(process)
    with process:
        _, said = process.communicate()
    with _starting:
        _running.discard(process)
    if process.returncode:
        raise OSError(f"{command[0]} failed: {said.strip()[:200]}")
