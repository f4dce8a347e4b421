"""Settings and fixtures for all tests."""

import jax
import pytest


@pytest.fixture
def x64():
    """Float64 for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def module_x64():
    """Float64 for all tests of a file: use it by `pytestmark`."""
    with jax.enable_x64(True):
        yield
