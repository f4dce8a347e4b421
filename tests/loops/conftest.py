"""Runs of the search command: in this process and in others, one compilation cache."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import compiled_once
from search_runs import BASE, cached_in

import jdarts
from jdarts.cli import run_command
from jdarts.search import main


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """The folder of the compilation cache."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def environment(cache):
    """Of other processes."""
    return {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": str(Path(jdarts.__file__).parents[1]),
    }


@pytest.fixture(scope="session")
def start_search(environment):
    """Starts the command in another process: ``start_search(folder, *arguments)``."""

    def start(folder, *arguments):
        command = [sys.executable, "-m", "jdarts.search", *BASE]
        return subprocess.Popen(
            [*command, "--run-dir", str(folder), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    return start


@pytest.fixture(scope="session")
def search(cache):
    """Runs the command in this process: ``search(folder, *arguments)`` -> exit status.

    The arguments must not change the compiled programs: they are made only once.
    """
    made = {}

    def run(folder, *arguments):
        with cached_in(cache), compiled_once(made):
            return run_command(main, [*BASE, "--run-dir", str(folder), *arguments])

    return run


@pytest.fixture(scope="session")
def unbroken(search, tmp_path_factory):
    """The folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    assert search(folder) == 0
    return folder
