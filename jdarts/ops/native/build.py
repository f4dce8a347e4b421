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
import subprocess
import tempfile
import threading
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
    "images": (
        "pack",
        "stage",
        "mixture",
        "norm",
        "pool",
        "blend",
        "relu_product",
        "affine_norm",
    ),
    "text": ("pack", "vocabulary"),
}
"""What the networks for a task call: built ahead, in this order."""

_FOLDER = Path(__file__).parent
_HEADERS = (
    "by_type.h",
    "exp.h",
    "ffi.h",
    "micro.h",
    "norm.h",
    "panel.h",
    "parallel.h",
)
_FLAGS = ("-O3", "-march=native", "-std=c++17", "-fPIC", "-shared", "-w")
_COMPILERS = ("c++", "g++", "clang++")


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
      OSError, subprocess.SubprocessError: if it cannot be built.
    """
    return _builder.begin([library])[0].result()


class _Builder:
    """Builds libraries in the order asked for, one a processor at a time.

    By daemon threads: a process that ends early does not wait for what it began.
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
            while self._working < min(os.cpu_count() or 1, len(self._left)):
                self._working += 1
                threading.Thread(target=self._work, daemon=True).start()
            return [self._asked[library] for library in libraries]

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._left:
                    self._working -= 1
                    return
                library = self._left.popleft()
            try:
                self._asked[library].set_result(_build(library))
            except BaseException as error:  # for the thread that waits
                self._asked[library].set_exception(error)


_builder = _Builder()


def in_cache(library: Library) -> bool:
    """Whether the library is there, built before. Needs a compiler."""
    with contextlib.suppress(FileNotFoundError):
        return trusted(_file(library))
    return False


def _flags(library: Library) -> tuple[str, ...]:
    return *_FLAGS, f"-DJDARTS_REAL={'double' if library.wide else 'float'}"


def _source(library: Library) -> Path:
    return _FOLDER / f"{library.source}.cc"


def _file(library: Library) -> Path:
    """Where the library is kept; named by all that it depends on."""
    texts = [(_FOLDER / header).read_bytes() for header in _HEADERS]
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
    with tempfile.TemporaryDirectory(dir=made.parent) as scratch:
        new = Path(scratch) / "kernels.so"
        include, source = f"-I{jax.ffi.include_dir()}", str(_source(library))
        _run(program, *_flags(library), include, source, "-o", str(new))
        new.chmod(0o600)
        os.replace(new, made)  # two processes may build at once: either's will do
    return made


@functools.cache
def _private() -> Path:
    private = tempfile.mkdtemp(prefix="jdarts-")
    atexit.register(shutil.rmtree, private, ignore_errors=True)
    return Path(private)


def _folder() -> Path:
    """Where libraries are kept: for this process alone if others can write the cache,
    because they are run as they are."""
    folder = cache_folder()
    return folder if trusted_folder(folder) else _private()


_running: set[subprocess.Popen] = set()


@atexit.register
def _stop() -> None:
    for process in list(_running):
        process.kill()


def _run(*command: str) -> None:
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        _running.add(process)
        try:
            _, said = process.communicate(timeout=600)
        finally:
            process.kill()
            _running.discard(process)
    if process.returncode:
        raise OSError(f"{command[0]} failed: {said.strip()[:200]}")
