"""Fixtures for the tests of ops."""

import jax
import pytest
from helpers import kernels_or_skip, switch_off_kernels


@pytest.fixture(params=["compiled", "plain"], scope="module")
def kernels(request):
    """Which lowering serves on CPU: compiled kernels, or plain JAX."""
    if request.param == "compiled":
        kernels_or_skip()
        yield request.param
        return
    with pytest.MonkeyPatch.context() as patch:
        switch_off_kernels(patch)
        yield request.param
    jax.clear_caches()
