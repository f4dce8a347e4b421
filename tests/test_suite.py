"""Any part of the suite can be run: its files do not need each other.

Pytest puts the folder of every file that it collects into the path, and no other one:
names of modules are to be looked up in few places, and to mean one file.
"""

import ast
import collections
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import helpers
import pytest

FOLDER = Path(__file__).resolve().parent
FILES = sorted(FOLDER.rglob("*.py"))
SETTINGS = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())
PLACES = SETTINGS["tool"]["pytest"]["ini_options"]["pythonpath"]
EVERYWHERE = [FOLDER.parent / place for place in PLACES]


def imported(file):
    """The first parts of the modules that a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


def test_a_name_is_one_file():
    found = [path for folder in EVERYWHERE for path in folder.glob("*.py")]
    paths = {path.resolve() for path in [*FILES, *found]}
    counted = collections.Counter(path.stem for path in paths)
    assert {name for name, count in counted.items() if count > 1} == {"conftest"}


def test_nothing_is_imported_from_tests_or_from_other_folders():
    shared = {path.stem for folder in EVERYWHERE for path in folder.glob("*.py")}
    wrong = []
    for file in FILES:
        own = {path.stem for path in file.parent.glob("*.py")}
        for name in {path.stem for path in FILES} & {*imported(file)}:
            private = name == "conftest" or name.startswith("test_")
            if private or name not in shared | own:
                wrong.append(f"{file.relative_to(FOLDER)}: {name}")
    assert not wrong


# --- what is not here ---


@pytest.mark.parametrize("required", [set(), {"golden"}])
def test_what_is_required_fails(required, monkeypatch):
    monkeypatch.setattr(helpers, "REQUIRED", required)
    raised = pytest.fail.Exception if required else pytest.skip.Exception
    with pytest.raises(raised, match="no files"):
        helpers.absent("golden", "no files")
    with pytest.raises(pytest.skip.Exception):
        helpers.absent("torch", "not installed")


@pytest.mark.parametrize("compiler", [None, "c++"])
def test_a_compiler_that_fails_is_no_reason_to_skip(compiler, monkeypatch):
    monkeypatch.setattr(helpers, "REQUIRED", set())
    monkeypatch.delenv("JDARTS_NATIVE", raising=False)
    monkeypatch.setattr(helpers.build, "compiler", lambda: compiler)
    monkeypatch.setattr(helpers.native, "available", lambda: False)
    with pytest.raises(AssertionError if compiler else pytest.skip.Exception):
        helpers.kernels_or_skip()


def test_a_file_is_run_by_one_process():
    """Its fixtures are made once, and tests that follow each other do."""
    files = ["tests/test_tree.py", "tests/spaces/test_random.py"]
    command = [sys.executable, "-m", "pytest", "-v", "-n2", *files]
    done = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    ran = set(re.findall(r"\[(gw\d)\].* (tests/\S+?\.py)::", done.stdout))
    assert sorted(file for _, file in ran) == sorted(files), done.stdout
