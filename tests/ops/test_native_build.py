"""Kernels are built when they are needed, once; without them, in plain JAX."""

import logging
import re
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdarts.loops.setup_clock import SetupClock
from jdarts.ops import native
from jdarts.ops.native import build
from jdarts.ops.pack import pack
from jdarts.stopwatch import KERNELS, Waited

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
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JDARTS_NATIVE", raising=False)
    return asked


def test_the_tables_are_what_the_folder_has():
    texts = {p.stem: p.read_text() for p in FOLDER.glob("*.cc")}
    defined = {
        name: set(re.findall(r"JDARTS_HANDLER\(jdarts_(\w+)", text))
        for name, text in texts.items()
    }
    assert {name: set(own) for name, own in build.HANDLERS.items()} == defined
    assert set(build._HEADERS) == {p.name for p in FOLDER.glob("*.h")}
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
    native.prepare("images")  # comes back though the compiler does not
    gate.set()
    with pytest.raises(ZeroDivisionError):
        build.built(build.Library("pack"))


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
    monkeypatch.setattr(native, "prepare", lambda task: None)
    clock = SetupClock("images")
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
