"""Checkpoints: round trip, kills, damage, full disks, other networks and devices."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jdarts import UserError
from jdarts.io import Checkpoints


def make_state(step=0):
    w = {"a": jax.random.normal(jax.random.key(step), (300,)), "b": jnp.ones(3)}
    return {
        "w": w,
        "opt": optax.adam(1e-3).init(w),
        "half": jnp.ones((4,), jnp.bfloat16),
        "key": jax.random.key(step),
        "count": jnp.int32(step),
        "host": np.arange(3),
        "scalar": np.float32(step),
        "number": step,
        "nothing": jnp.zeros((0, 2)),
        "empty": {},
    }


def raw(leaf):
    is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(
        leaf.dtype, jax.dtypes.prng_key
    )
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert type(a) is type(b)
        assert getattr(a, "dtype", None) == getattr(b, "dtype", None)
        np.testing.assert_array_equal(raw(a), raw(b))


def fill(folder, steps):
    with Checkpoints(folder) as checkpoints:
        for step in steps:
            checkpoints.save(step, make_state(step), {"epoch": step, "name": "x"})


def test_round_trip_keeps_types_values_and_the_newest_three(tmp_path):
    fill(tmp_path / "c", range(5))
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.latest() == 4
        restored = checkpoints.restore(make_state(0))
    assert restored.step == 4
    assert restored.meta == {"epoch": 4, "name": "x"}
    assert_same(restored.state, make_state(4))
    assert sorted(os.listdir(tmp_path / "c")) == ["2", "3", "4"]


def test_nothing_to_restore(tmp_path):
    with Checkpoints(tmp_path / "new" / "c") as checkpoints:
        assert checkpoints.latest() is None
        assert checkpoints.restore(make_state()) is None


def test_relative_folder_and_shapes_as_target(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = {"w": jnp.arange(3.0), "key": jax.random.key(1)}
    with Checkpoints(Path("c")) as checkpoints:
        checkpoints.save(1, state, {})
        restored = checkpoints.restore(jax.eval_shape(lambda s: s, state))
    assert_same(restored.state, state)


def test_saved_state_may_be_donated_at_once(tmp_path):
    state = {"w": jnp.arange(1000.0)}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, {})
        jax.jit(lambda s: jax.tree.map(lambda x: x * 0 - 1, s), donate_argnums=0)(state)
        restored = checkpoints.restore({"w": jnp.zeros(1000)})
    np.testing.assert_array_equal(restored.state["w"], np.arange(1000.0))


def data_files(step_folder):
    """The largest data file of the state, and one of each other kind that is read."""
    blobs = [p for p in (step_folder / "state").rglob("d/*") if p.is_file()]
    return {
        "data": max(blobs, key=lambda p: p.stat().st_size),
        "manifest": step_folder / "state" / "manifest.ocdbt",
        "tree": step_folder / "state" / "_METADATA",
        "meta": step_folder / "meta" / "metadata",
    }


def harm(path, how):
    content = bytearray(path.read_bytes())
    if how == "deleted":
        path.unlink()
        return
    if how == "truncated":
        content = content[: len(content) // 2]
    elif how == "emptied":
        content = bytearray()
    elif how == "garbage":
        content = bytearray(np.random.default_rng(0).bytes(len(content)))
    else:
        content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two") / "c"
    fill(folder, (1, 2))
    return folder


@pytest.mark.parametrize(
    "how", ["deleted", "truncated", "emptied", "garbage", "flipped"]
)
@pytest.mark.parametrize("which", ["data", "manifest", "tree", "meta"])
def test_damage_falls_back_or_is_harmless(two_steps, tmp_path, caplog, which, how):
    folder = tmp_path / "c"
    shutil.copytree(two_steps, folder)
    harm(data_files(folder / "2")[which], how)
    with Checkpoints(folder) as checkpoints:
        restored = checkpoints.restore(make_state())
        assert_same(restored.state, make_state(restored.step))
        assert restored.meta["epoch"] == restored.step
        if which == "tree":  # Orbax can do without some of it
            return
        assert restored.step == 1
        (record,) = caplog.records
        assert record.name == "jdarts" and record.levelno == logging.WARNING
        message = record.getMessage()
        assert str(folder / "2") in message and "\n" not in message
        assert checkpoints.latest() == 1
        assert (folder / "2.damaged").is_dir()
        checkpoints.save(2, make_state(7), {"epoch": 2})
        assert_same(checkpoints.restore(make_state()).state, make_state(7))
    assert sorted(os.listdir(folder)) == ["1", "2", "2.damaged"]


@pytest.mark.parametrize("item", ["state", "meta"])
def test_a_missing_part_falls_back(two_steps, tmp_path, caplog, item):
    folder = tmp_path / "c"
    shutil.copytree(two_steps, folder)
    shutil.rmtree(folder / "2" / item)
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.restore(make_state()).step == 1
    assert "damaged" in caplog.text


def test_all_damaged_is_an_error_that_loses_nothing(two_steps, tmp_path):
    folder = tmp_path / "c"
    shutil.copytree(two_steps, folder)
    for step in ("1", "2"):
        harm(data_files(folder / step)["data"], "flipped")
    for _ in range(2):
        with Checkpoints(folder) as checkpoints:
            with pytest.raises(UserError, match=r"none of its 2 .*checksum"):
                checkpoints.restore(make_state())
    assert sorted(os.listdir(folder)) == ["1", "2"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"half": jnp.ones((5,), jnp.bfloat16)}, r"its half is bfloat16\[4\], .*\[5\]"),
        ({"count": jnp.float32(0)}, r"its count is int32\[\], expected float32\[\]"),
        ({"new": jnp.ones(2)}, r"it has no new, expected float32\[2\]"),
    ],
)
def test_another_network_is_refused_and_kept(two_steps, tmp_path, change, message):
    folder = tmp_path / "c"
    shutil.copytree(two_steps, folder)
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(UserError, match=r"c/2: .*another network: " + message):
            checkpoints.restore({**make_state(), **change})
        smaller = make_state()
        del smaller["w"]["b"]
        with pytest.raises(UserError, match=r"it has w\.b \(float32\[3\]\)"):
            checkpoints.restore(smaller)
    assert sorted(os.listdir(folder)) == ["1", "2"]


def test_a_machine_without_memory_is_not_damage(two_steps, tmp_path, monkeypatch):
    folder = tmp_path / "c"
    shutil.copytree(two_steps, folder)
    with Checkpoints(folder) as checkpoints:

        def fail(*args, **kwargs):
            raise ValueError("PERMISSION_DENIED: no [os_error_code='13']")

        monkeypatch.setattr(checkpoints._manager, "restore", fail)
        with pytest.raises(UserError, match=r"2: cannot be read \(Permission denied\)"):
            checkpoints.restore(make_state())
    assert sorted(os.listdir(folder)) == ["1", "2"]


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)]
    if (
        not shutil.which("mount")
        or subprocess.run(mount, capture_output=True).returncode
    ):
        pytest.skip("needs the right to mount a tmpfs")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_full_disk(small_disk):
    def state(step, size=20_000):
        return {"w": jax.random.normal(jax.random.key(step), (size,))}

    checkpoints = Checkpoints(small_disk / "c")
    with pytest.raises(UserError, match=r"c/\d: the .*\(No space left on device\)"):
        for step in range(6):
            checkpoints.save(step, state(step), {})
            checkpoints.wait()
    last = checkpoints.latest()
    assert last == step - 1
    np.testing.assert_array_equal(
        checkpoints.restore(state(0)).state["w"], state(last)["w"]
    )
    checkpoints.save(step, state(step, 10), {})  # room enough: the same object goes on
    assert checkpoints.latest() == step
    with pytest.raises(UserError, match="No space left"):  # full again, half-way
        for later in range(step + 1, 60):
            checkpoints.save(later, state(later), {})
            checkpoints.wait()
    assert checkpoints.restore(state(0, 10)).step == step == checkpoints.latest()
    checkpoints.close()


def test_failed_write_surfaces_at_the_latest_on_close(tmp_path, monkeypatch, caplog):
    fill(tmp_path, (1,))

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    checkpoints = Checkpoints(tmp_path)
    monkeypatch.setattr(checkpoints._manager, "wait_until_finished", fail)
    with pytest.raises(UserError, match=r"\(No space left on device\)"):
        checkpoints.close()
    with pytest.raises(KeyError):  # not hidden by the failed write
        with Checkpoints(tmp_path) as checkpoints:
            monkeypatch.setattr(checkpoints._manager, "wait_until_finished", fail)
            raise KeyError
    assert "No space left" in caplog.text
    with Checkpoints(tmp_path) as checkpoints:
        assert_same(checkpoints.restore(make_state()).state, make_state(1))


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/c: cannot be opened \(Not a dir"):
        Checkpoints(tmp_path / "file" / "c")


def start(code, *arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_kill_during_saves(tmp_path):
    code = """
        import sys, pathlib, jax.numpy as jnp
        from jdarts.io import Checkpoints
        checkpoints = Checkpoints(pathlib.Path(sys.argv[1]))
        step = checkpoints.latest() or 0
        while True:
            step += 1
            checkpoints.save(step, {"w": jnp.full((200_000,), step)}, {"step": step})
            print(step, flush=True)
    """
    target = {"w": jnp.zeros(200_000, jnp.int32)}
    previous = 0
    for delay in (0.0, 0.013):
        process = start(code, tmp_path)
        for _ in range(4):
            assert process.stdout.readline().strip().isdigit()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        assert errors == ""
        (tmp_path / "999.orbax-checkpoint-tmp").mkdir()
        with Checkpoints(tmp_path) as checkpoints:
            assert not list(tmp_path.glob("*tmp*"))
            restored = checkpoints.restore(target)
        assert restored.step >= previous + 3  # the fourth save waited for the third
        assert restored.meta == {"step": restored.step}
        assert (restored.state["w"] == restored.step).all()
        previous = restored.step


def test_other_devices_and_a_silent_terminal(tmp_path):
    """Saved on 4 devices, read on 2 and on 1; a damaged newest one: one line."""
    code = """
        import sys, pathlib, jax, jax.numpy as jnp, numpy as np
        from jax.sharding import NamedSharding, PartitionSpec as P
        from jdarts.io import Checkpoints
        assert jax.device_count() == int(sys.argv[2])
        mesh = jax.sharding.Mesh(np.array(jax.devices()), ("d",))
        sharded, whole = NamedSharding(mesh, P("d")), NamedSharding(mesh, P())
        w = jax.device_put(jnp.arange(8.0), sharded)
        key = jax.device_put(jax.random.key(5), whole)
        state = {"w": w, "key": key}
        with Checkpoints(pathlib.Path(sys.argv[1])) as checkpoints:
            if sys.argv[3] == "save":
                checkpoints.save(1, state, {})
                checkpoints.save(2, state, {})
            else:
                restored = checkpoints.restore(jax.eval_shape(lambda s: s, state)
                    if jax.device_count() == 1 else state)
                assert restored.step == int(sys.argv[3])
                got = restored.state
                assert (got["w"] == np.arange(8.0)).all()
                assert got["w"].sharding.is_equivalent_to(sharded, 1)
                assert (jax.random.bits(got["key"]) == jax.random.bits(key)).all()
    """

    def run(devices, what):
        flag = f"--xla_force_host_platform_device_count={devices}"
        process = start(code, tmp_path, devices, what, XLA_FLAGS=flag)
        out, errors = process.communicate()
        assert process.returncode == 0, errors
        return out + errors

    assert run(4, "save") == ""
    assert run(2, 2) == ""
    harm(data_files(tmp_path / "2")["manifest"], "garbage")
    said = run(1, 1)
    assert said.count("\n") == 1 and "damaged" in said and "Traceback" not in said


def test_a_folder_whose_name_is_not_utf_8(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    state = {"w": jnp.arange(3.0)}
    for step in (1, 2):  # opened again
        with Checkpoints(folder) as checkpoints:
            checkpoints.save(step, state, {"step": step})
    with Checkpoints(folder) as checkpoints:
        restored = checkpoints.restore(jax.eval_shape(lambda: state))
    assert restored.step == 2 and restored.meta == {"step": 2}
    np.testing.assert_array_equal(restored.state["w"], [0, 1, 2])
    assert sorted(os.listdir(folder)) == ["1", "2"]
