"""Parity with the numbers of the original programs, in float64."""

import jax
import pytest
from golden import files, worst


@pytest.fixture(scope="module", autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True)
def golden_file(request):
    """Of a test that has one: it is there."""
    spec = getattr(request.node, "callspec", None)  # of the parameters
    path = spec and spec.params.get("path")
    if path is not None and not path.is_absolute():
        files(str(path))


def pytest_terminal_summary(terminalreporter):
    for what, error in sorted(worst.items()):
        terminalreporter.write_line(f"largest relative error, {what}: {error:.1e}")
