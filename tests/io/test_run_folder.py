"""Run folders: made, re-opened, refused, locked."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jdarts import UserError
from jdarts.io import RunFolder, read_json, run_folder

CONFIG = {"seed": 1, "weights": {"lr": 0.025, "size": (3, 4)}, "data": {"dir": "a"}}


def test_new_and_again(tmp_path):
    path = tmp_path / "runs" / "x"
    with RunFolder.open(path, CONFIG) as folder:
        assert not folder.resumed
        assert read_json(folder.config) == {
            **CONFIG,
            "weights": {"lr": 0.025, "size": [3, 4]},
        }
        names = [folder.metrics, folder.genotype, folder.checkpoints, folder.summary]
        names += [folder.config, folder.drawing("normal")]
        assert [p.relative_to(path).as_posix() for p in names] == [
            "metrics.jsonl",
            "genotype.json",
            "checkpoints",
            "summary.txt",
            "config.json",
            "cell_normal.svg",
        ]
    with RunFolder.open(path, CONFIG) as folder:
        assert folder.resumed


def test_what_an_earlier_version_wrote_is_renewed(tmp_path):
    with RunFolder.open(tmp_path, {"old": 1}):
        pass

    def renew(config):
        return {"new": config["old"]}

    with pytest.raises(UserError, match="new: 2 here, 1 in the folder"):
        RunFolder.open(tmp_path, {"new": 2}, renew=renew)
    assert read_json(tmp_path / "config.json") == {"old": 1}
    with RunFolder.open(tmp_path, {"new": 1}, renew=renew) as folder:
        assert folder.resumed and read_json(folder.config) == {"new": 1}


def test_a_part(tmp_path):
    path, own = tmp_path / "run", {"seed": 3}
    for _ in range(2):
        with RunFolder.open(path, {"seeds": [3, 4]}) as folder:
            part = folder.part("seed_3", own)
            assert read_json(part.config) == own
            assert part.metrics == path / "seed_3" / "metrics.jsonl"
            assert part.resumed == folder.resumed
    with pytest.raises(UserError) as error:
        RunFolder.open(part.path, own)
    assert f"expected the folder of that run, {path}" in str(error.value)
    assert sorted(os.listdir(part.path)) == ["config.json", "part.txt"]


def test_an_empty_folder_is_fine(tmp_path):
    (tmp_path / ".config.json.77.tmp").write_text("what a kill left")
    with RunFolder.open(tmp_path, CONFIG) as folder:
        assert not folder.resumed
    assert sorted(os.listdir(tmp_path)) == [".lock", "config.json"]


def test_another_configuration_is_named_field_by_field(tmp_path):
    RunFolder.open(tmp_path, CONFIG).close()
    before = (tmp_path / "config.json").read_bytes()
    other = {"seed": 1.0, "weights": {"lr": 0.05, "size": [3]}, "data": {"new": True}}
    with pytest.raises(UserError) as error:
        RunFolder.open(tmp_path, other)
    for part in (
        "weights.lr: 0.05 here, 0.025 in the folder",
        "weights.size: [3] here, [3, 4] in the folder",
        "data.new: true here, not set in the folder",
        'data.dir: not set here, "a" in the folder',
    ):
        assert part in str(error.value)
    assert "seed" not in str(error.value)
    assert f"as --run-dir {tmp_path}-2, or" in str(error.value)
    assert (tmp_path / "config.json").read_bytes() == before
    RunFolder.open(tmp_path, CONFIG).close()  # the lock was given back


def test_the_folder_that_is_proposed_is_free(tmp_path, monkeypatch):
    path = tmp_path / "run"
    for name in ("run", "run-2", "run-3"):
        RunFolder.open(tmp_path / name, CONFIG).close()
    with pytest.raises(UserError, match=f"as --run-dir {path}-4, or"):
        RunFolder.open(path, {})
    monkeypatch.chdir(path)
    with pytest.raises(UserError, match=f"as --run-dir {path}-4, or"):
        RunFolder.open(Path(), {})


def test_many_differences_are_counted(tmp_path):
    RunFolder.open(tmp_path, {f"f{i}": 0 for i in range(9)}).close()
    with pytest.raises(UserError, match=r"f5: 1 here, 0 in the folder; \+3 more"):
        RunFolder.open(tmp_path, {f"f{i}": 1 for i in range(9)})


def test_fields_that_may_differ(tmp_path):
    RunFolder.open(tmp_path, CONFIG).close()
    other = {**CONFIG, "seed": 2, "data": {"dir": "b"}}
    with pytest.raises(UserError, match="seed: 2 here") as error:
        RunFolder.open(tmp_path, other, may_differ=["data.dir", "see"])
    assert "data" not in str(error.value)
    RunFolder.open(tmp_path, other, may_differ=("data", "seed")).close()
    assert read_json(tmp_path / "config.json")["seed"] == 2


def test_no_folder_for_a_run(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="file: is a file; expected a folder"):
        RunFolder.open(tmp_path / "file", CONFIG)
    with pytest.raises(UserError, match="x: cannot be created"):
        RunFolder.open(tmp_path / "file" / "x", CONFIG)
    with pytest.raises(UserError, match=r"holds other files \(file, ...\)"):
        RunFolder.open(tmp_path, CONFIG)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_corrupt_config(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match="config.json: not"):
        RunFolder.open(tmp_path, CONFIG)
    assert (tmp_path / "config.json").read_text() == content


@pytest.mark.parametrize("function", ["mkdir", "open", "fsync", "replace"])
def test_an_unwritable_place_leaves_nothing(tmp_path, monkeypatch, function):
    def fail(*args, **kwargs):
        raise OSError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, function, fail)
        with pytest.raises(UserError, match=r"cannot be .* \(Permission denied\)"):
            RunFolder.open(tmp_path / "a" / "b", CONFIG)
    assert os.listdir(tmp_path) == []


def test_one_process_at_a_time(tmp_path):
    code = (
        "import sys, time, pathlib; from jdarts.io import RunFolder\n"
        "folder = RunFolder.open(pathlib.Path(sys.argv[1]), {'a': 1})\n"
        "print('open', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "open\n"
    with pytest.raises(UserError, match=rf"in use .*\(process {process.pid}\)"):
        RunFolder.open(tmp_path, {"a": 1})
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with RunFolder.open(tmp_path, {"a": 1}) as folder:
        with pytest.raises(UserError, match="in use"):
            RunFolder.open(tmp_path, {"a": 1})
        folder.close()
        RunFolder.open(tmp_path, {"a": 1}).close()


RACE = """
import os, sys, time
from pathlib import Path
from jdarts.errors import UserError
from jdarts.io import RunFolder

ROOT, TRIALS, RACERS = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

def race(number, path, token, ready):
    os.read(ready, 1)  # all at once, when the pipe is closed
    try:
        # Some want another configuration: they may own the folder, and give it up.
        folder = RunFolder.open(path, {"seed": number % 2})
    except UserError as error:
        return 0 if "in use" in str(error) or "another conf" in str(error) else 3
    with folder:
        try:
            os.close(os.open(token, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return 1  # two owners
        time.sleep(0.0005)
        os.unlink(token)
    return 0 if (path / "config.json").exists() else 4

for trial in range(TRIALS):
    path, token = ROOT / f"{trial}" / "runs" / "x", ROOT / f"token-{trial}"
    ready, go = os.pipe()
    children = []
    for number in range(RACERS):
        child = os.fork()
        if not child:
            os.close(go)
            try:
                os._exit(race(number, path, token, ready))
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(5)
        children.append(child)
    os.close(go)
    found = {os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children}
    os.close(ready)
    if found != {0}:
        sys.exit(f"trial {trial}: {found}")
    if not (path / "config.json").exists():
        sys.exit(f"trial {trial}: nobody had the folder")
"""


def test_many_processes_one_owner(tmp_path):
    """New folders, wanted by many at once, each have one owner at a time."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RACE, str(tmp_path), "60", "6"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_lock_that_its_owner_has_removed(tmp_path, monkeypatch):
    """Whoever opened it before has no lock: the file is not the folder's any more."""
    path, taken = tmp_path / "run", []
    flock = run_folder.fcntl.flock

    def late(lock, how):
        if not taken:  # the owner gives the folder up, another process takes it
            taken.append(lock)
            (path / ".lock").unlink()
            (path / ".lock").write_text("")
        flock(lock, how)

    monkeypatch.setattr(run_folder.fcntl, "flock", late)
    with RunFolder.open(path, CONFIG) as folder:
        assert os.path.samestat(os.fstat(folder._lock), os.stat(path / ".lock"))


def test_who_has_no_lock_removes_nothing(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    with RunFolder.open(path, CONFIG):
        created = [path]
        with pytest.raises(UserError, match="in use by another run"):
            run_folder._acquire(path, created)
        assert (path / ".lock").exists()
