"""Settings and fixtures for all tests."""

import fcntl
import gc
import os
import shutil
import signal
import tempfile
from importlib import metadata
from pathlib import Path

from packaging import version

# Who runs the tests in the background, or under nohup, has these signals ignored, and
# so would every command that a test starts and stops.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Tests spend their time compiling, and run each program a few times on tiny inputs: do
# without the expensive passes, and without the emitters that lower each fusion through
# MLIR, which take more than half of that time. JDARTS_TEST_XLA=user compiles as users
# do: `.ci/run` has a part for it. The last flag keeps fences (`jdarts.compile`), also
# in programs that `jax.jit` compiles. Before jax starts.
flags = {
    "quick": (
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
        "--xla_cpu_parallel_codegen_split_count=1",
        "--xla_disable_hlo_passes=cse_barrier_expander,small-while-loop-hoisting",
    ),
    "user": (),
}[os.environ.get("JDARTS_TEST_XLA", "quick")]
# jaxlib 0.12 always uses the emitters, and ends without a word at a flag that it does
# not know.
if flags and version.parse(metadata.version("jaxlib")) < version.parse("0.12"):
    flags = (*flags, "--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *flags])

import jax  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402
import shape_checks  # noqa: E402

shape_checks.install()  # before jdarts is imported

from helpers import MAY_BE_ABSENT, REQUIRED, enable_x64  # noqa: E402

from jdarts.ops.native import build  # noqa: E402


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


# Files whose tests share a fixture of the session are run by one process; so are those
# of a file. Long ones come first, so that none is left at the end.
TOGETHER = {
    "loops/test_bad_runs.py": "unbroken search",
    "loops/test_extend.py": "unbroken search",
    "loops/test_results.py": "unbroken search",
    "loops/test_resume.py": "unbroken search",
    "reports/test_browser.py": "reports",
    "reports/test_markup.py": "reports",
    "reports/test_report.py": "reports",
    "reports/test_result_tables.py": "reports",
}
LONG = "loops", "benchmarks", "methods", "ops", "parity", "nets", "faults"


def pytest_collection_modifyitems(items):
    def folder(item):
        return item.path.relative_to(Path(__file__).parent).parts[0]

    items.sort(key=lambda item: folder(item) not in LONG)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Groups of files, by their names: marks of groups are lost on the way from the
    processes with pytest 9.2 and xdist 3.8."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class GroupScheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return TOGETHER.get(file.removeprefix("tests/"), file)

    return GroupScheduling(config, log)


def pytest_collection_finish():
    """What is imported stays; the garbage of a trace is worth little of the search for
    it, which goes through all that is there."""
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


def build_one_at_a_time(folder):
    """No two processes build the same kernels at once: the second one finds them."""
    original = build._build

    def alone(library):
        with open(folder / f"{library.source}-{library.wide}", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return original(library)

    build._build = alone


def pytest_configure(config):
    """Keeps compiled programs for the next run (``--cache-clear`` forgets them), not in
    the user's cache."""
    for word in REQUIRED.difference(MAY_BE_ABSENT):
        known = ", ".join(MAY_BE_ABSENT)
        raise pytest.UsageError(f"JDARTS_REQUIRE: found '{word}', expected {known}")
    cache = getattr(config, "cache", None)
    if cache is None:  # with ``-p no:cacheprovider``: nor in the user's cache
        folder = tempfile.mkdtemp(prefix="jdarts-tests-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        jax.config.update("jax_compilation_cache_dir", folder)
    else:
        jax.config.update("jax_compilation_cache_dir", str(cache.mkdir("jax")))
        build_one_at_a_time(cache.mkdir("kernels"))
        # Two runs at a time may meet in a file: then a program is compiled again.
        config.addinivalue_line(
            "filterwarnings", "ignore:Error (reading|writing) persistent compilation"
        )
