"""Parity with the numbers of the original programs, in float64."""

import jax
import pytest
from golden import FOLDER, worst


@pytest.fixture(scope="module", autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session", autouse=True)
def golden_folder():
    if not FOLDER.is_dir():
        pytest.skip(f"no golden numbers: {FOLDER} does not exist; set JDARTS_GOLDEN")


def pytest_terminal_summary(terminalreporter):
    for what, error in sorted(worst.items()):
        terminalreporter.write_line(f"largest relative error, {what}: {error:.1e}")
