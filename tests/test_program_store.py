"""Programs that are found again without tracing."""

import dataclasses
import functools
import json
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

import jdarts
from jdarts import METHODS, build_method, get_space, make_supernet, program_store
from jdarts.fingerprint import VERSIONED, NoFingerprint, fingerprint
from jdarts.nets.recurrent import Dropout, mixed_recurrent
from jdarts.program_store import compile_stored, program_key
from jdarts.spaces import DARTS_RNN

SCALE = 3


@dataclasses.dataclass(frozen=True)
class Settings:
    rate: float = 0.5


def scaled_by(settings, table):
    """A function that holds settings and an array, and names a constant."""
    inner = jax.jit(lambda x: x * settings.rate)

    def scale(x):
        return inner(x) * SCALE + table

    return scale


def shift(by, x):
    return x + by


TABLE = np.arange(3.0, dtype=np.float32)
X = jax.ShapeDtypeStruct((3,), jnp.float32)


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """The code of this file counts as that of a package with a version."""
    monkeypatch.setattr("jdarts.fingerprint.VERSIONED", {*VERSIONED, __name__})


@pytest.fixture(autouse=True)
def no_cache_of_jax():
    """A program that jax takes from its own cache is not stored."""
    before = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    yield
    jax.config.update("jax_enable_compilation_cache", before)
    compilation_cache.reset_cache()


def programs(folder):
    return sorted(folder.glob("*.program"))


def test_the_second_time_it_is_not_traced(tmp_path):
    x, results = jnp.ones(3), []
    for _ in range(2):
        made = compile_stored(tmp_path, scaled_by(Settings(), TABLE), X)
        results.append((made.call(x), made.trace_seconds))
    (first, traced), (second, again) = results
    np.testing.assert_array_equal(first, second)
    assert traced > 0 and again == 0 and len(programs(tmp_path)) == 1


def test_donation_and_structure_are_kept(tmp_path):
    def step(state, count):
        return {"x": state["x"] + count}, count

    for _ in range(2):
        made = compile_stored(
            tmp_path,
            step,
            {"x": X},
            jax.ShapeDtypeStruct((), jnp.int32),
            donate_argnums=0,
        )
        state = {"x": jnp.ones(3)}
        found, _ = made.call(state, jnp.asarray(2))
        np.testing.assert_array_equal(found["x"], 3 * np.ones(3))
        assert state["x"].is_deleted()


def test_what_makes_another_program(monkeypatch):
    same = program_key(scaled_by(Settings(), TABLE), (X,), {})
    assert same == program_key(scaled_by(Settings(), TABLE.copy()), (X,), {})
    others = [
        program_key(scaled_by(Settings(0.6), TABLE), (X,), {}),
        program_key(scaled_by(Settings(), TABLE + 1), (X,), {}),
        program_key(scaled_by(Settings(), TABLE), (X.update(shape=(1,)),), {}),
        program_key(scaled_by(Settings(), TABLE), (X,), {"donate_argnums": 0}),
        program_key(functools.partial(shift, 1), (X,), {}),
        program_key(functools.partial(shift, 2), (X,), {}),
    ]
    with jax.enable_x64(True):
        others.append(program_key(scaled_by(Settings(), TABLE), (X,), {}))
    for patch in (
        lambda m: m.setitem(globals(), "SCALE", 4),
        lambda m: m.setenv("XLA_FLAGS", "--other"),
        lambda m: m.setattr(program_store, "_sources", lambda: "edited"),
        lambda m: m.setattr("importlib.metadata.version", lambda name: "99.0"),
    ):
        with monkeypatch.context() as context:
            patch(context)
            others.append(program_key(scaled_by(Settings(), TABLE), (X,), {}))
    assert len({same, *others}) == len(others) + 1 and None not in others


def test_the_digest_is_that_of_other_processes():
    """A set, whose order differs between processes, and a search method."""
    code = """
    from jdarts.config import load_config
    from jdarts.fingerprint import fingerprint
    from jdarts.methods import build_method, make_supernet
    from jdarts.spaces import get_space
    space, config = get_space("toy"), load_config("smoke").method
    network = make_supernet(config, space, channels=2, layers=1, classes=3)
    method = build_method(config, space, network, epochs=2, steps_per_epoch=3)
    print(fingerprint({"one", "two", "three"}, method))
    """
    found = {
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(jdarts.__file__).parents[1],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_digest(name):
    space, config = get_space("toy"), METHODS[name].config()
    network = make_supernet(config, space, channels=4, layers=1, classes=3)
    length = {"epochs": 4, "steps_per_epoch": 3}
    method = build_method(config, space, network, **length)
    again = build_method(config, space, network, **length)
    longer = build_method(config, space, network, **length | {"epochs": 8})
    assert fingerprint(method) == fingerprint(again) != fingerprint(longer)


def test_objects_that_hold_each_other():
    loop = []
    loop.append(loop)
    assert fingerprint(loop) == fingerprint(loop) != fingerprint([[]])


def test_constants_of_inner_functions(monkeypatch):
    def outer(x):
        return jax.lax.fori_loop(0, 2, lambda i, y: y * SCALE, x)

    before = fingerprint(outer)
    monkeypatch.setitem(globals(), "SCALE", 4)
    assert fingerprint(outer) != before


def test_rules_of_derivatives():
    def make(scale):
        @jax.custom_jvp
        def f(x):
            return x

        f.defjvp(lambda primals, tangents: (primals[0], scale * tangents[0]))
        return f

    assert fingerprint(make(1.0)) == fingerprint(make(1.0)) != fingerprint(make(2.0))


def test_rules_of_gradients():
    def make(scale):
        @jax.custom_vjp
        def f(x):
            return x

        f.defvjp(lambda x: (x, None), lambda _, cotangent: (scale * cotangent,))
        return f

    assert fingerprint(make(1.0)) == fingerprint(make(1.0)) != fingerprint(make(2.0))


def test_a_recurrent_network_has_a_fingerprint(unchecked_shapes):
    def make(units):
        return mixed_recurrent(
            DARTS_RNN, vocabulary=9, units=units, dropout=Dropout()
        ).apply

    assert fingerprint(make(4)) == fingerprint(make(4)) != fingerprint(make(5))


def local_class():
    class Local:
        pass

    return Local


@pytest.mark.parametrize(
    "value",
    [iter([1]), {1: 2}.get, local_class(), json.dumps, threading.Lock()],
    ids=["an iterator", "a method of an object", "local", "another package", "a lock"],
)
def test_what_has_no_digest_is_compiled_each_time(tmp_path, value):
    with pytest.raises(NoFingerprint):
        fingerprint(lambda: value)
    fun = lambda x: x + (value is not None)  # noqa: E731
    assert compile_stored(tmp_path, fun, X).trace_seconds > 0
    assert not programs(tmp_path)


def test_an_edit_after_the_start(monkeypatch):
    """The code in memory is then not that of the files."""
    monkeypatch.setattr(program_store, "_STARTED", 0.0)
    assert program_key(scaled_by(Settings(), TABLE), (X,), {}) is None


DEVICES = """
import sys, chex, jax, jax.numpy as jnp, numpy as np
from pathlib import Path
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jdarts.program_store import compile_stored
chex.set_n_cpu_devices(2)
for devices in (jax.devices(), jax.devices()[1:2], jax.devices()[::-1]):
    mesh = Mesh(np.array(devices), "d")
    x = jax.device_put(jnp.arange(4.0), NamedSharding(mesh, PartitionSpec("d")))
    made = compile_stored(Path(sys.argv[1]), jnp.square, x)
    assert made.call(x).tolist() == [0, 1, 4, 9]
    print(made.trace_seconds == 0)
"""


def test_only_for_all_devices(tmp_path):
    """A program of some of them would be loaded for all."""
    answers = [
        subprocess.run(
            [sys.executable, "-c", DEVICES, str(tmp_path)],
            cwd=Path(jdarts.__file__).parents[1],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for _ in range(2)
    ]
    assert answers == [["False"] * 3, ["True", "False", "False"]]


def test_a_damaged_file_is_replaced(tmp_path, caplog):
    make = functools.partial(compile_stored, tmp_path, jnp.cos, X)
    make()
    (path,) = programs(tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    assert make().trace_seconds > 0
    assert f"{path}: not usable" in caplog.text
    assert make().trace_seconds == 0


def test_a_cache_that_cannot_be_written_is_used(tmp_path, monkeypatch):
    """An administrator's: programs are taken, and none is dropped."""
    make = functools.partial(compile_stored, tmp_path, jnp.cos, X)
    make()

    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    assert make().trace_seconds == 0
    (path,) = programs(tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    assert make().trace_seconds > 0


class Spy:
    """A pickle that calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def planted(tmp_path):
    """(a file of programs that would leave a trace, the trace)."""
    make = functools.partial(compile_stored, tmp_path, jnp.cos, X)
    make()
    (path,) = programs(tmp_path)
    trace = tmp_path / "trace"
    path.write_bytes(pickle.dumps(Spy(os.mkdir, str(trace))))
    return path, trace


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
def test_a_folder_that_others_can_write_is_not_used(tmp_path, mode, caplog):
    folder = tmp_path / "programs"
    path, trace = planted(folder)
    content = path.read_bytes()
    folder.chmod(mode)
    for _ in range(2):
        assert compile_stored(folder, jnp.cos, X).trace_seconds > 0
    assert not trace.exists() and path.read_bytes() == content
    assert [str(folder) in line for line in caplog.messages] == [True]


def test_a_file_that_others_can_write_is_replaced(tmp_path, caplog):
    make = functools.partial(compile_stored, tmp_path, jnp.cos, X)
    path, trace = planted(tmp_path)
    path.chmod(0o666)
    assert make().trace_seconds > 0 and not trace.exists()
    assert path.stat().st_mode & 0o777 == 0o600 and make().trace_seconds == 0
    assert str(path) in caplog.text


def test_what_no_program_is_made_of_is_not_called(tmp_path, caplog):
    """Even in a file of one's own."""
    path, trace = planted(tmp_path)
    assert compile_stored(tmp_path, jnp.cos, X).trace_seconds > 0
    assert not trace.exists() and "names posix.mkdir" in caplog.text
    payload, *trees = pickle.loads(path.read_bytes())
    inner = pickle.dumps((Spy(os.mkdir, str(trace)), [], None))
    path.write_bytes(pickle.dumps((inner, *trees)))
    assert compile_stored(tmp_path, jnp.cos, X).trace_seconds > 0
    assert not trace.exists() and path.read_bytes() != inner


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("jdarts.io.files", "write_atomic"),
        ("jdarts.program_store", "os.system"),
        ("jdarts.program_store", "Path"),
        ("jax.numpy", "load"),
        ("numpy", "load"),
        ("builtins", "eval"),
        ("optax", "adam"),
    ],
)
def test_names_that_are_refused(module, name):
    with pytest.raises(pickle.UnpicklingError):
        program_store._check_name(module, name)


def test_only_the_last_used_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(program_store, "_KEPT", 2)
    for number in (1, 2, 3):
        for old in programs(tmp_path):  # files within the clock's resolution
            os.utime(old, (0, old.stat().st_mtime - 10))
        compile_stored(tmp_path, functools.partial(shift, number), X)
    kept = [
        program_key(functools.partial(shift, number), (X,), {}) for number in (2, 3)
    ]
    assert [p.stem for p in programs(tmp_path)] == sorted(kept)


def test_without_a_folder():
    assert compile_stored(None, jnp.sin, X).trace_seconds > 0
