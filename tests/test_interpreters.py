"""How CI finds other versions of Python."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / ".ci" / "interpreters.sh"


def interpreter(path, status):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nexit {status}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def find(tmp_path):
    def find(version="9.1"):
        return subprocess.run(
            ["bash", "-c", f"source {SCRIPT}; find_python {version}"],
            env={"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "PYENV_ROOT": str(tmp_path)},
            capture_output=True,
            text=True,
        )

    return find


def test_path_comes_first(find, tmp_path):
    interpreter(tmp_path / "versions/9.1.2/bin/python9.1", 0)
    first = interpreter(tmp_path / "bin/python9.1", 0)
    assert find().stdout.strip() == first


def test_one_that_does_not_run_is_passed_over(find, tmp_path):
    """As a shim of pyenv where no version is chosen."""
    interpreter(tmp_path / "bin/python9.1", 127)
    interpreter(tmp_path / "versions/9.1.2/bin/python9.1", 0)
    newest = interpreter(tmp_path / "versions/9.1.10/bin/python9.1", 0)
    interpreter(tmp_path / "versions/9.2.0/bin/python9.2", 0)
    assert find().stdout.strip() == newest


def test_none(find, tmp_path):
    interpreter(tmp_path / "bin/python9.1", 127)
    found = find()
    assert found.returncode == 1 and not found.stdout
