"""Whose files are run: owners, modes, links."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jdarts import compile, trust
from jdarts.ops.native import build as native
from jdarts.trust import read_trusted, trusted, trusted_folder

ME, OTHER = os.geteuid(), os.geteuid() + 1234


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    monkeypatch.setattr(trust, "_warned", set())


@pytest.fixture
def folder(tmp_path):
    """``outer/inner/file``, all of them ours alone."""
    inner = tmp_path / "outer" / "inner"
    assert trusted_folder(inner)
    (inner / "file").write_bytes(b"code")
    (inner / "file").chmod(0o600)
    return inner


@pytest.fixture
def belongs_to(monkeypatch):
    """Lets a path seem to be another user's, whoever runs the tests."""
    others = {}
    real = {name: getattr(os, name) for name in ("stat", "lstat", "fstat")}

    def seen(name):
        def status(path, *args, **options):
            found = real[name](path, *args, **options)
            if isinstance(path, int):
                path = os.readlink(f"/proc/self/fd/{path}")
            owner = others.get(os.fspath(path), found.st_uid)
            return os.stat_result([*found[:4], owner, *found[5:]])

        return status

    for name in real:
        monkeypatch.setattr(trust.os, name, seen(name))
    return lambda path, user: others.update({str(path): user})


def test_what_is_ours(folder):
    for path in (folder, folder.parent):
        assert path.stat().st_mode & 0o777 == 0o700
    assert trusted(folder / "file") and read_trusted(folder / "file") == b"code"
    with pytest.raises(FileNotFoundError):
        read_trusted(folder / "missing")


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707, 0o775, 0o702, 0o1777])
def test_a_folder_that_others_can_write(folder, mode, caplog):
    folder.chmod(mode)
    assert not trusted_folder(folder) and read_trusted(folder / "file") is None
    (line,) = caplog.messages
    assert str(folder) in line and f"{mode:o}" in line and "chmod go-w" in line


@pytest.mark.parametrize(("mode", "good"), [(0o777, False), (0o1777, True)])
def test_a_folder_above_that_others_can_write(folder, mode, good):
    """In one with the sticky bit they cannot move what is ours."""
    folder.parent.chmod(mode)
    assert trusted_folder(folder) == good


@pytest.mark.parametrize("mode", [0o622, 0o620, 0o602, 0o666])
def test_a_file_that_others_can_write(folder, mode, caplog):
    (folder / "file").chmod(mode)
    assert not trusted(folder / "file") and read_trusted(folder / "file") is None
    assert len(caplog.messages) == 1 and str(folder / "file") in caplog.text


@pytest.mark.parametrize("part", [".", "..", "file"])
@pytest.mark.parametrize(("user", "good"), [(ME, True), (0, True), (OTHER, False)])
def test_owners(folder, belongs_to, part, user, good):
    belongs_to(folder.parent if part == ".." else folder / part, user)
    assert (read_trusted(folder / "file") == b"code") == good


def test_links(folder, belongs_to, tmp_path):
    """Of folders they are followed, if they are not another user's; of files not."""
    link = tmp_path / "link"
    link.symlink_to("outer")
    assert trusted_folder(link / "inner") and trusted_folder(link / ".." / "link")
    (link / "file").symlink_to(folder / "file")
    assert read_trusted(link / "file") is None
    belongs_to(link, OTHER)
    assert not trusted_folder(link / "inner")


def test_a_link_into_a_folder_of_others(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder)
    folder.parent.chmod(0o777)
    assert not trusted_folder(link)


def test_links_without_end(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert not trusted_folder(tmp_path / "a")


def test_what_is_no_file(folder):
    os.mkfifo(folder / "pipe", 0o600)
    assert read_trusted(folder / "pipe") is None
    (folder / "folder").mkdir(0o700)
    assert read_trusted(folder / "folder") is None
    assert not trusted_folder(folder / "file")


def test_above_home_the_administrator_decides(folder, monkeypatch):
    folder.parent.chmod(0o777)
    monkeypatch.setenv("HOME", str(folder))
    assert trusted_folder(folder / "new")
    folder.chmod(0o777)
    assert not trusted_folder(folder / "new")


def test_the_cache_of_jax_too(folder, tmp_path):
    """A process with such a cache folder has none, says so, and computes."""
    code = "from jdarts.compile import enable_cache; print(enable_cache())"
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    variables = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=variables | {"XDG_CACHE_HOME": str(shared)},
        cwd=Path(trust.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "None\n" and str(shared) in done.stderr
    assert done.stderr.count("\n") == 1 and not list(shared.glob("*/*/*"))


def test_kernels_of_others_are_not_loaded(monkeypatch, tmp_path):
    """They are built into a folder of the process, or built again."""

    def build(*command):
        Path(command[-1]).write_bytes(b"built")

    monkeypatch.setattr(native, "_run", build)
    monkeypatch.setattr(native, "compiler", lambda: "c++")
    library = native.Library("pack")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = native._build(library)
    assert made.is_relative_to(tmp_path) and made.stat().st_mode & 0o777 == 0o600
    made.write_bytes(b"planted")
    assert (
        native._build(library) == made and made.read_bytes() == b"planted"
    )  # one's own
    made.chmod(0o666)
    assert native._build(library) == made and made.read_bytes() == b"built"
    made.write_bytes(b"planted")
    compile.cache_folder().chmod(0o777)
    private = native._build(library)
    assert private.read_bytes() == b"built" and made.read_bytes() == b"planted"
    assert private.parent.stat().st_mode & 0o777 == 0o700
    assert not private.is_relative_to(tmp_path)
