"""Compiled programs on disk, found again without tracing.

jax's own cache spares a later start the compiling; but to ask it, a step has to be
traced and lowered, which takes as long again. A program here is named by a digest of
all that it depends on, see `program_key`.
"""

import contextlib
import functools
import hashlib
import importlib
import importlib.metadata
import io
import logging
import os
import pickle
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax.experimental import serialize_executable

from jdarts import compile
from jdarts.compile import Compiled
from jdarts.fingerprint import fingerprint
from jdarts.io import write_atomic
from jdarts.ops import native
from jdarts.phase import phased
from jdarts.trust import read_trusted, trusted_folder
from jdarts.types import PyTree

__all__ = ["compile_stored", "load_program", "program_key", "save_program"]

_log = logging.getLogger("jdarts")
_KEPT = 32  # programs; the ones that were used last
_SUFFIX = ".program"
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def compile_stored(
    folder: Path | None, fun: Callable[..., Any], *args: PyTree, **options: Any
) -> Compiled:
    """As `compile_timed`, but takes the program from a folder if it is there.

    It then has no times of tracing and lowering. A program that was compiled here is
    kept there; one that jax read from its own cache cannot be written again: after an
    edit that changes no program, jax's cache alone serves.

    Args:
      folder: of the programs; None: always compile.
      fun: the function.
      *args: arrays or ``jax.ShapeDtypeStruct`` with shardings.
      **options: as for `jdarts.compile.jit`.
    """
    if folder is None:
        return compile.compile_timed(fun, *args, **options)
    start = time.perf_counter()
    key = program_key(fun, args, options)
    program = None if key is None else load_program(folder, key)
    if program is not None:
        taken = time.perf_counter() - start
        compile.return_unused_memory()
        return Compiled(program, 0.0, 0.0, taken, compile.temp_bytes(program))
    before = _cache_hits.count, native.expected()
    made = compile.compile_timed(fun, *args, **options)
    # Kernels that could not be built make another program than its name says.
    if key is not None and (_cache_hits.count, native.expected()) == before:
        save_program(folder, key, made.call)
        compile.return_unused_memory()
    return made


def program_key(fun: Any, args: PyTree, options: dict[str, Any]) -> str | None:
    """Names a compiled program: the same name means the same program.

    It depends on the function and what it holds, the arguments' forms and places, the
    options, jdarts' source files, the versions of what jdarts is built on and runs on,
    jax's settings, the environment variables of XLA, and the devices.

    Returns:
      None where there cannot be a name: something that the function holds cannot be
      digested, sources have changed since they were read, or not all devices of one
      process take part.
    """
    leaves, form = jax.tree.flatten(args)
    if _changed() or not _everywhere(leaves):
        return None
    forms = [(x.shape, str(x.dtype), getattr(x, "sharding", None)) for x in leaves]
    try:
        own = fingerprint(fun, str(form), forms, options)
    except Exception as error:  # no name is never wrong
        _log.debug("no stored program: %s", error)
        return None
    return fingerprint(own, _sources(), _surroundings())[:32]


def _everywhere(leaves: list[Any]) -> bool:
    """Whether a program with these arguments is loaded again for the same devices."""
    devices = jax.devices()
    if len(devices) == 1:
        return True
    meshes = [getattr(getattr(x, "sharding", None), "mesh", None) for x in leaves]
    return jax.process_count() == 1 and all(
        mesh is not None and list(mesh.devices.flat) == devices for mesh in meshes
    )


def _files() -> list[Path]:
    """All files of this package that make programs."""
    root = Path(__file__).parent
    return sorted(p for p in root.rglob("*") if p.suffix in (".py", ".cc", ".h"))


@functools.cache
def _sources() -> str:
    digest, root = hashlib.sha256(), Path(__file__).parent
    for path in _files():
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


_STARTED = time.time()


def _changed() -> bool:
    """Whether a file is newer than this process, whose code is then the old one's."""
    return any(path.stat().st_mtime > _STARTED for path in _files())


def _surroundings() -> list[Any]:
    packages = [importlib.metadata.version(name) for name in _PACKAGES]
    device = jax.devices()[0]
    runtime = [sys.version, device.client.platform_version, device.device_kind]
    variables = {
        name: value
        for name, value in os.environ.items()
        if name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "JDARTS_NATIVE")
    }
    settings = {
        name: repr(value)
        for name, value in jax.config.values.items()
        if "cache" not in name
    }
    return [
        packages,
        runtime,
        sorted(variables.items()),
        sorted(settings.items()),
        [d.id for d in jax.devices()],
        device.platform == "cpu" and native.expected(),
    ]


@phased("loading a compiled program")
def load_program(folder: Path, key: str) -> Any | None:
    """The compiled program of that name; None if there is none, or it is not usable.

    It is machine code, and whoever can write it could have this process do anything: so
    it is only taken from a `jdarts.trust.trusted` file.
    """
    path = folder / (key + _SUFFIX)
    try:
        data = read_trusted(path)
        program = None if data is None else _from_bytes(data)
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever a damaged file leads to
        _log.warning("%s: not usable (%s); compiling again", path, error)
        with contextlib.suppress(OSError):  # a cache of the administrator's
            path.unlink(missing_ok=True)
        return None
    with contextlib.suppress(OSError):
        if program is not None:
            os.utime(path)
    return program


def _from_bytes(data: bytes) -> Any:
    """What jax's `deserialize_and_load` does, with nothing but what `_check_name`
    allows: of a program with its arguments' places jax has no form but a pickle."""
    payload, in_tree, out_tree = _Outer(io.BytesIO(data)).load()
    native.register_built()  # it may call any of them
    client = jax.devices()[0].client
    devices = client.devices()
    unloaded, arguments, no_kwargs = _Inner(io.BytesIO(payload), client, devices).load()
    return jax.stages.Compiled(
        unloaded.load(),
        [],
        in_tree.unflatten(arguments),
        out_tree,
        no_kwargs=no_kwargs,
    )


# What a pickled program is made of, in jax 0.7 to 0.12.
_NAMES = {
    "jax": """P PartitionSpec unpickle_pspec _unpickle_pspec ShapedArray ManualAxisType
        MemorySpace Space AllArgsInfo UnloadedMeshExecutable Layout AutoLayoutSingleton
        Format DebugInfo AbstractDevice AbstractMesh AxisType Mesh _unpicke_mesh
        _unpickle_mesh _unpickle_named_sharding _unpickle_single_device_sharding
        _unpickle_gspmd_sharding KeyTy PRNGImpl threefry_fold_in threefry_random_bits
        threefry_seed threefry_split ArgInfo default_registry tracing_registry""",
    "jaxlib": "DeviceList PyTreeDef HloSharding GSPMDSharding",
    "ml_dtypes": "bfloat16",
    "numpy": "dtype ndarray _reconstruct",
}
_ALLOWED = {package: frozenset(names.split()) for package, names in _NAMES.items()}


def _check_name(module: str, name: str) -> None:
    """Raises `pickle.UnpicklingError` unless programs are made of what has that name:
    one of `_NAMES`, or one of the named tuples that jdarts' and optax's states are."""
    package = module.partition(".")[0]
    if name in _ALLOWED.get(package, ()):
        return
    if package in ("jdarts", "optax"):
        found = getattr(importlib.import_module(module), name, None)
        if isinstance(found, type) and issubclass(found, tuple):
            return
    raise pickle.UnpicklingError(f"names {module}.{name}")


class _Outer(pickle.Unpickler):
    """Of the program's bytes and the trees of its arguments and results."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        _check_name(module_name, global_name)
        return super().find_class(module_name, global_name)


class _Inner(serialize_executable._JaxPjrtUnpickler):
    """Of the program."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        _check_name(module_name, global_name)
        return super().find_class(module_name, global_name)


def save_program(folder: Path, key: str, compiled: Any) -> None:
    """Keeps a program, and drops those that have not been used for longest.

    Where the platform cannot do that, or the disk is full, nothing is kept.

    Args:
      folder: of the programs.
      key: its name.
      compiled: a program that was not read from jax's cache.
    """
    try:
        data = pickle.dumps(serialize_executable.serialize(compiled))
        if not trusted_folder(folder):
            return
        write_atomic(folder / (key + _SUFFIX), data, private=True)
        newest = sorted(folder.glob(f"*{_SUFFIX}"), key=os.path.getmtime, reverse=True)
        for old in newest[_KEPT:]:
            old.unlink(missing_ok=True)
    except Exception as error:  # a run does not end because of it
        _log.debug("program not kept: %s", error)


class _CacheHits:
    """Counts the programs that jax reads from its own cache in this process."""

    def __init__(self) -> None:
        self.count = 0
        jax.monitoring.register_event_listener(self._note)

    def _note(self, event: str, **_: Any) -> None:
        self.count += event == "/jax/compilation_cache/cache_hits"


_cache_hits = _CacheHits()
