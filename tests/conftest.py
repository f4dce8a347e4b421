"""Settings and fixtures for all tests."""

import os
import signal

# Who runs the tests in the background, or under nohup, has these signals ignored, and
# so would every command that a test starts and stops.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Tests spend their time compiling, and run each program a few times on tiny inputs: do
# without the expensive passes. The last flag keeps fences (`jdarts.compile`), also in
# programs that `jax.jit` compiles. Before jax starts.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
        "--xla_disable_hlo_passes=cse_barrier_expander,small-while-loop-hoisting",
    ]
)

import jax  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402
import shape_checks  # noqa: E402

shape_checks.install()  # before jdarts is imported

from helpers import enable_x64  # noqa: E402


@pytest.fixture
def unchecked_shapes(monkeypatch):
    """For what jdarts itself says of shapes that do not fit, and for what looks into
    functions."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def x64():
    """Float64 for one test."""
    with enable_x64(True):
        yield


def pytest_configure(config):
    """Keeps compiled programs for the next run (``--cache-clear`` forgets them)."""
    cache = getattr(config, "cache", None)  # not with ``-p no:cacheprovider``
    if cache is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache.mkdir("jax")))
        # Two runs at a time may meet in a file: then a program is compiled again.
        config.addinivalue_line(
            "filterwarnings", "ignore:Error (reading|writing) persistent compilation"
        )
