"""Fixtures for the tests of ops."""

import jax
import pytest
from helpers import switch_off_kernels

from jdarts.ops import native


@pytest.fixture(params=["compiled", "plain"], scope="module")
def kernels(request):
    """Which lowering serves on CPU: compiled kernels, or plain JAX."""
    if request.param == "compiled":
        if not native.available() or jax.local_device_count("cpu") > 1:
            pytest.skip("no compiled kernels (no compiler, switched off, many devices)")
        yield request.param
        return
    with pytest.MonkeyPatch.context() as patch:
        switch_off_kernels(patch)
        yield request.param
    jax.clear_caches()
