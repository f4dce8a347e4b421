"""Kernels are built when they are needed, once; without them, in plain JAX."""

import contextlib
import logging
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdarts import Genotype, fixed_network
from jdarts.loops.setup_clock import SetupClock
from jdarts.ops import OPS, native
from jdarts.ops.native import build
from jdarts.ops.pack import pack
from jdarts.spaces import CellGenotype, Connection
from jdarts.stopwatch import KERNELS, Waited

LIBRARIES = [build.Library(source) for source in ("pack", "norm", "pool", "stage")]
FOLDER = Path(build.__file__).parent


@pytest.fixture
def compiler(monkeypatch, tmp_path):
    """What a compiler was asked for, in a process that has no kernels yet."""
    asked = []

    def run(*command):
        asked.append(command)
        Path(command[-1]).write_bytes(b"built")

    monkeypatch.setattr(build, "_run", run)
    monkeypatch.setattr(build, "compiler", lambda: "c++")
    monkeypatch.setattr(native, "compiler", lambda: "c++")
    monkeypatch.setattr(build, "_builder", build._Builder())
    monkeypatch.setattr(native, "_known", set())
    monkeypatch.setattr(native, "_broken", False)
    monkeypatch.setattr(build, "_threads", [])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JDARTS_NATIVE", raising=False)
    yield asked
    for thread in build._threads:  # or it would build for the next test
        thread.join()


def test_the_tables_are_what_the_folder_has():
    texts = {p.stem: p.read_text() for p in FOLDER.glob("*.cc")}
    defined = {
        name: set(re.findall(r"JDARTS_HANDLER\(jdarts_(\w+)", text))
        for name, text in texts.items()
    }
    assert {name: set(own) for name, own in build.HANDLERS.items()} == defined
    assert all(set(used) <= build.HANDLERS.keys() for used in build.USED.values())


def test_each_is_built_once_for_each_type(compiler):
    pack, wide = build.Library("pack"), build.Library("pack", wide=True)
    build.build_ahead([pack, build.Library("norm")])
    files = [build.built(library) for library in (pack, wide, pack)]
    build.built(build.Library("norm"))
    assert files[0] == files[2] != files[1]
    types = [flag for command in compiler for flag in command if "JDARTS_REAL" in flag]
    assert sorted(types) == ["-DJDARTS_REAL=double", *["-DJDARTS_REAL=float"] * 2]
    build._builder = build._Builder()  # another process: they are in the cache
    assert build.in_cache(pack) and build.built(pack) == files[0]
    assert len(compiler) == 3 and not build.in_cache(build.Library("pool"))


def test_nobody_waits_for_what_is_built_ahead(compiler, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(build, "_run", lambda *command: gate.wait(60) and 1 / 0)
    native.prepare("image search")  # comes back though the compiler does not
    gate.set()
    with pytest.raises(ZeroDivisionError):
        build.built(build.Library("pack"))


def test_each_idle_processor_takes_one(compiler, monkeypatch):
    all_at_once = threading.Barrier(len(LIBRARIES))
    monkeypatch.setattr(build, "_run", lambda *command: all_at_once.wait(60) and 1 / 0)
    monkeypatch.setattr(build, "_processors", lambda: len(LIBRARIES))
    for library in LIBRARIES:  # as a program asks for them: one after the other
        build.build_ahead([library])
    for library in LIBRARIES[:-1]:
        with contextlib.suppress(ZeroDivisionError, FileNotFoundError):
            build.built(library)
    assert not all_at_once.broken


def runs(process):
    """Whether it does; one that has ended may stay until its parent asks for it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2][1] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("ending", ["pass", "raise SystemExit(3)", "1 / 0"])
def test_no_compiler_outlives_the_process(ending, tmp_path):
    """Nor what it started; and nothing is started while the process ends."""
    script = tmp_path / "c++"  # as g++: the work is a child's
    script.write_text(f"#!/bin/sh\nsleep 300 &\necho $! >> {tmp_path}/begun\nwait\n")
    script.chmod(0o700)
    code = (
        "import time, pathlib; from jdarts.ops.native import build\n"
        "build._processors = lambda: 2\n"
        "build.build_ahead([build.Library(source) for source in build.HANDLERS])\n"
        f"begun = pathlib.Path({str(tmp_path / 'begun')!r})\n"
        "while not begun.exists() or len(begun.read_text().splitlines()) < 2:\n"
        "    time.sleep(0.01)\n"
        f"{ending}\n"
    )
    env = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(tmp_path),
    }
    subprocess.run([sys.executable, "-c", code], env=env, timeout=100, check=False)
    begun = (tmp_path / "begun").read_text().split()
    assert len(begun) == 2
    assert not any(map(runs, begun))
    (cache,) = (tmp_path / "jdarts").iterdir()
    assert not [*cache.iterdir()]


def test_what_a_killed_process_left_is_removed(compiler):
    old, new = (build._folder() / f"{build._SCRATCH}{n}" for n in ("old", "new"))
    for folder in old, new:
        folder.mkdir()
        (folder / "kernels.so").touch()
    os.utime(old, (0, 0))
    made = build.built(build.Library("pack"))
    assert {*made.parent.iterdir()} == {made, new}


def test_a_training_builds_what_fixed_networks_call(monkeypatch):
    """Of all primitives in both cells."""
    called = set()
    known = native.available

    def available(*names, dtype=np.float32):
        called.update(native._SOURCE[name] for name in names)
        return known(*names, dtype=dtype)

    monkeypatch.setattr(native, "available", available)
    names = [*OPS]
    pairs = zip(names[::2], names[1::2] + names[:1], strict=False)
    nodes = tuple((Connection(a, 0), Connection(b, 1)) for a, b in pairs)
    cell = CellGenotype(nodes, concat=tuple(range(2, 2 + len(nodes))))
    genotype = Genotype("darts_cnn", {"normal": cell, "reduce": cell})
    network = fixed_network(genotype, channels=8, layers=3, classes=2)
    images = jnp.zeros((2, 8, 8, 3))
    w, state = jax.eval_shape(network.init, jax.random.key(0), images)

    def loss(w, state, images):
        key = jax.random.key(1)
        outputs, _ = network.apply(w, state, images, True, None, key)
        return outputs.logits.sum()

    jax.jit(jax.grad(loss)).lower(w, state, images)
    assert called == set(build.USED["image training"]) - {"pack"}


def test_without_them_plain_jax_serves(compiler, monkeypatch, caplog):
    def fail(*command):
        raise OSError("c++ failed: no space\nleft")

    monkeypatch.setattr(build, "_run", fail)
    jax.clear_caches()
    with caplog.at_level(logging.WARNING):
        assert native.expected()
        (packed,) = pack([jnp.arange(3.0), jnp.ones((2,))]).values()
        assert not native.available("stage_output") and not native.expected()
    np.testing.assert_array_equal(packed, [0, 1, 2, 1, 1])
    (record,) = caplog.records  # one for all
    assert "(c++ failed: no space)" in record.getMessage()
    jax.clear_caches()


def test_a_setup_tells_its_wait_from_its_own_work(monkeypatch):
    monkeypatch.setattr(native, "prepare", lambda run: None)
    clock = SetupClock("text")
    clock.loaded()
    assert [*clock.seconds()] == ["data", "init"]
    monkeypatch.setattr(KERNELS, "seconds", KERNELS.seconds + 1000.0)
    found = clock.seconds()
    assert found["kernels"] == pytest.approx(1000) and found["init"] < 0  # not its own


def test_waited_adds_up():
    times = iter([1.0, 3.0, 10.0, 10.5])
    waited = Waited(lambda: next(times))
    with waited:
        pass
    before = waited.seconds
    with waited:
        pass
    assert (before, waited.seconds, waited.since(before)) == (2.0, 2.5, 0.5)
