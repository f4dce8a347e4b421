"""Compiler options, timing, and the cache on disk."""

import ctypes
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import jdarts
from jdarts import compile

ROOT = Path(jdarts.__file__).parents[1]


def test_options_only_on_cpu():
    passes = "cse_barrier_expander,small-while-loop-hoisting"
    assert compile.compiler_options("cpu") == {"xla_disable_hlo_passes": passes}
    assert passes in os.environ["XLA_FLAGS"]  # tests compile as users do
    assert compile.compiler_options("gpu") == compile.compiler_options("tpu") == {}
    assert compile.compiler_options() == compile.compiler_options(jax.default_backend())


@pytest.mark.parametrize("backend", ["cpu", "gpu", "tpu"])
def test_jit_passes_the_options_of_the_default_backend(monkeypatch, backend):
    given = {}
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(jax, "jit", lambda fun, **options: given.update(options) or fun)
    compile.jit(abs, static_argnums=1)
    options = compile.compiler_options(backend)
    assert given == {"compiler_options": options, "static_argnums": 1}


def test_compile_timed():
    def fun(x, y):
        return x @ y, x + 1

    shape = jax.ShapeDtypeStruct((8, 8), jnp.float32)
    made = compile.compile_timed(fun, shape, shape, donate_argnums=1)
    x = jnp.eye(8)
    product, plus = made.call(x, 2 * jnp.eye(8))
    assert (product == 2 * x).all() and (plus == x + 1).all()
    assert 0 < made.lower_seconds < made.trace_seconds and made.compile_seconds > 0
    assert isinstance(made.temp_bytes, int) and made.temp_bytes >= 0


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf(
        "SC_PAGESIZE"
    )


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc"
    or any(name.startswith(("LD_PRELOAD", "MALLOC_")) for name in os.environ),
    reason="another C library, or other settings of it",
)
def test_unused_memory_is_returned_after_compiling():
    library, block, count = ctypes.CDLL(None), 64 * 1024, 4096
    library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    blocks = [library.malloc(block) for _ in range(count)]
    for pointer in blocks:
        ctypes.memset(pointer, 1, block)
    full = resident_bytes()
    for pointer in blocks[:-1]:  # the last holds the C library back
        library.free(pointer)
    kept = full - resident_bytes()
    compile.compile_timed(lambda x: x + 1, jnp.ones(3))
    returned = full - resident_bytes()
    library.free(blocks[-1])
    assert kept < count * block / 4 and returned > count * block / 2


def test_the_cache_folder_is_per_version_and_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    here = compile.cache_folder()
    assert here.parent == tmp_path / "jdarts"
    assert here == compile.cache_folder()
    monkeypatch.setattr(compile, "_processor", lambda: "another")
    assert compile.cache_folder() != here
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert compile.cache_folder().parent == tmp_path / ".cache" / "jdarts"


CODE = """
import json, jax, jax.numpy as jnp
from jdarts.compile import enable_cache, jit
counts = {}
def count(event, **rest):
    counts[event] = counts.get(event, 0) + 1
jax.monitoring.register_event_listener(count)
folder = enable_cache()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
print(float(jit(lambda x: jnp.sin(x) @ x)(jnp.ones(3))))
hits, misses = (
    counts.get(f"/jax/compilation_cache/cache_{kind}", 0) for kind in ("hits", "misses")
)
print(json.dumps([str(folder), hits, misses]))
"""


def second_line(**variables):
    """[folder in use, cache hits, cache misses] of a process with these variables."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    value, counts = done.stdout.splitlines()
    assert float(value) == pytest.approx(2.524413)
    return json.loads(counts)


def test_the_second_process_compiles_nothing(tmp_path):
    first = second_line(XDG_CACHE_HOME=str(tmp_path))
    folder = Path(first[0])
    assert folder.parent == tmp_path / "jdarts"
    assert first[1] == 0 and first[2] > 0
    files = sorted(path.name for path in folder.iterdir())
    assert any(name.startswith("jit_") for name in files)
    assert second_line(XDG_CACHE_HOME=str(tmp_path)) == [str(folder), first[2], 0]


def test_the_users_choice_is_respected(tmp_path):
    own, other = tmp_path / "own", tmp_path / "other"
    found = second_line(JAX_COMPILATION_CACHE_DIR=str(own), XDG_CACHE_HOME=str(other))
    assert found[0] == str(own) and found[2] > 0
    assert list(own.iterdir()) and not other.exists()
