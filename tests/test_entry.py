"""Commands as processes: how they are named, what they import, how they end."""

import ast
import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import jdarts
from jdarts.commands import COMMANDS
from jdarts.methods import method_table

ROOT = Path(jdarts.__file__).parents[1]
# Imports nothing but to look at what is there.
WATCHED = """
import atexit, sys
atexit.register(lambda: print("imported", *sorted(sys.modules), file=sys.stderr))
from jdarts.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def run(*command, **options):
    """Runs a process of this Python from the checkout."""
    options = {"capture_output": True, "text": True, "cwd": ROOT} | options
    return subprocess.run([sys.executable, *map(str, command)], **options)


def watched(*arguments):
    """(the finished process, the names of all modules that it imported)."""
    # As in a process that has been started again with large pages.
    done = run(
        "-c", WATCHED, *arguments, env=os.environ | {"GLIBC_TUNABLES": "glibc.x=1"}
    )
    *said, last = done.stderr.splitlines()
    return done, "\n".join(said), set(last.split()[1:])


@pytest.mark.parametrize(
    "arguments, out, error",
    [
        ([], "jdarts COMMAND", ""),
        (["--help"], "jdarts COMMAND", ""),
        (["--version"], "jdarts 0.", ""),
        (["serach"], "", "error: command: unknown 'serach'; did you mean 'search'?"),
        (["--verison"], "", "error: option: unknown '--verison'; did you mean '--ver"),
    ],
)
def test_what_needs_no_command_imports_nothing(arguments, out, error):
    done, said, modules = watched(*arguments)
    assert done.returncode == (2 if error else 0)
    assert out in done.stdout and said.startswith(error)
    assert said.count("\n") == 0
    for heavy in ("jax", "numpy", "tyro", "rich"):
        assert heavy not in modules


LATE = (
    *("scipy", "sklearn", "orbax.checkpoint", "tensorflow_datasets", "tensorflow"),
    *("optax", "rich.progress", "jdarts.reports", "grain"),
)


@pytest.mark.parametrize(
    "arguments, status",
    [
        (["search", "--help"], 0),
        (["search", "--epochz", "3"], 2),
        (["search", "smok"], 2),
        (["train", "--help"], 0),
        (["train", "DARTS_V3"], 2),
    ],
)
def test_help_and_errors_of_spelling_import_only_what_parses(arguments, status):
    done, said, modules = watched(*arguments)
    assert done.returncode == status
    assert said.count("error: ") == (status == 2) and said.count("\n") == 0
    assert "jax" in modules  # the list is there
    assert modules.isdisjoint(LATE)


def test_the_overview_has_every_command_in_one_line():
    lines = run("-m", "jdarts").stdout.splitlines()
    for name, row in COMMANDS.items():
        assert [line.split(None, 1)[1] for line in lines if line.split()[:1] == [name]]
        assert row.summary in "\n".join(lines)
    assert max(map(len, lines)) <= 88


@pytest.mark.parametrize("name", COMMANDS)
def test_every_row_is_a_command(name):
    assert callable(importlib.import_module(COMMANDS[name].module).main)


def test_all_ways_lead_to_a_command():
    for way in (["-m", "jdarts", "methods"], ["-m", "jdarts.methods"]):
        assert run(*way).stdout == method_table() + "\n"
    script = Path(sys.executable).with_name("jdarts")
    done = subprocess.run([script, "methods"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, method_table() + "\n")


def test_the_version_has_one_source():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert jdarts.__version__ == project["version"]
    assert run("-m", "jdarts", "--version").stdout == f"jdarts {project['version']}\n"


def test_what_the_package_offers_is_what_a_type_checker_sees():
    [shown] = [
        node
        for node in ast.parse(Path(jdarts.__file__).read_text()).body
        if isinstance(node, ast.If)
    ]
    seen = {
        name.name: line.module
        for line in shown.body
        if isinstance(line, ast.ImportFrom)
        for name in line.names
    }
    assert seen == jdarts._MODULE_OF
    assert set(jdarts.__all__) == {*seen, "__version__"} <= set(dir(jdarts))
    for name, module in seen.items():
        assert getattr(jdarts, name) is getattr(importlib.import_module(module), name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = jdarts.nothing
