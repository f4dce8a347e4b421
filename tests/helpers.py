"""What several test files need."""

import contextlib
import importlib
import io
import os
import re

import jax
import jax.experimental
import jax.numpy as jnp
import numpy as np
import pytest

from jdarts import compile
from jdarts.ops import native
from jdarts.ops.native import build

# Before JAX 0.8 it is in `jax.experimental`, which later versions take it out of.
_place = jax if hasattr(jax, "enable_x64") else jax.experimental
enable_x64 = _place.enable_x64


MAY_BE_ABSENT = "golden", "torch", "compiler"
REQUIRED = {word for word in os.environ.get("JDARTS_REQUIRE", "").split(",") if word}


def absent(what, reason):
    """Skips what needs something that is not here; fails if JDARTS_REQUIRE names it."""
    if what in REQUIRED:
        pytest.fail(f"{reason}; JDARTS_REQUIRE names {what}", pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def torch_or_skip():
    """The module `torch`."""
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        absent("torch", f"PyTorch is not installed ({error})")


def kernels_or_skip():
    """Skips where there can be no compiled kernels. A compiler that fails on ours is a
    failure."""
    if jax.local_device_count("cpu") > 1 or os.environ.get("JDARTS_NATIVE") == "0":
        pytest.skip("no compiled kernels: switched off, or many devices")
    if build.compiler() is None:
        absent("compiler", "no compiled kernels: no C++ compiler in PATH")
    assert native.available(), "the compiler in PATH does not build the kernels"


class Clock:
    """A clock that a test sets by hand."""

    now = 0.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    """A stream that keeps what a terminal would show."""

    def isatty(self):
        return True


def relative_error(found, expected):
    """``max |found - expected| / max |expected|`` of one array (absolute if all 0)."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, (found.shape, expected.shape)
    scale = np.max(np.abs(expected), initial=0.0)
    return np.max(np.abs(found - expected), initial=0.0) / (scale or 1.0)


def assert_close(found, expected, tolerance, what=""):
    """Compares two arrays, or two trees of one structure, leaf by leaf.

    Returns:
      The largest relative error.
    """
    found, expected = (dict(jax.tree.leaves_with_path(t)) for t in (found, expected))
    assert found.keys() == expected.keys(), what
    worst = 0.0
    for path, value in expected.items():
        error = relative_error(found[path], value)
        where = f"{what}{jax.tree_util.keystr(path)}"
        assert error <= tolerance, f"{where}: {error:.3e} > {tolerance:.0e}"
        worst = max(worst, error)
    return worst


def random_like(key, tree):
    """A tree of standard normal values with the shapes and dtypes of `tree`.

    By NumPy: JAX would compile a program for every shape.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    return jax.tree.map(
        lambda x: jnp.asarray(rng.normal(size=x.shape).astype(x.dtype)), tree
    )


def derivatives(f, point, tangents, cotangent):
    """Value, gradients, jvp, and second and third derivatives, in all arguments."""

    def gradient(*arguments):
        return jax.vjp(f, *arguments)[1](cotangent)

    def slope(*arguments):
        pairs = zip(gradient(*arguments), tangents, strict=True)
        return sum(jnp.vdot(a, b * b) for a, b in pairs)

    second = jax.grad(slope, tuple(range(len(point))))
    return {
        "both": jax.jvp(f, point, tangents),
        "gradient": gradient(*point),
        "forward over forward": jax.jvp(
            lambda *p: jax.jvp(f, p, tangents)[1], point, tangents
        )[1],
        "forward over reverse": jax.jvp(gradient, point, tangents)[1],
        "reverse over reverse": second(*point),
        "third order": jax.jvp(second, point, tangents)[1],
    }


def lowered(platform, function, *args):
    """The function as StableHLO for a platform."""
    traced = jax.jit(function).trace(*args)
    return traced.lower(lowering_platforms=(platform,)).as_text()


def feature_groups(text):
    """The numbers of groups of the convolutions in StableHLO."""
    return {int(n) for n in re.findall(r"feature_group_count = (\d+)", text)}


def directional_difference(function, point, direction, step=1e-6):
    """Central difference of `function` along `direction`.

    Its error is about step^2 (truncation) plus 1e-16 / step (rounding): 1e-10 relative
    at the default step in float64, if `function` has no kink nearby.
    """

    def at(scale):
        return function(jax.tree.map(lambda p, d: p + scale * d, point, direction))

    return jax.tree.map(lambda a, b: (a - b) / (2 * step), at(step), at(-step))


def shapes(tree):
    """The structure of a tree with its leaves' shapes and dtypes."""
    return jax.tree.map(lambda x: (jnp.shape(x), jnp.result_type(x)), tree)


@contextlib.contextmanager
def compiled_once(made):
    """In here a program is compiled once for its name and its arguments' shapes.

    Args:
      made: the programs there are, by both; settings other than the shapes have to be
        the same wherever it is used.
    """
    original = compile.compile_timed

    def once(fun, *args, **options):
        key = fun.__name__, str(shapes(args))
        if key not in made:
            made[key] = original(fun, *args, **options)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compile, "compile_timed", once)
        yield


def compile_fusions_as_users_do(patch):
    """XLA:CPU's own emitters, where tests do without (see `conftest`), for
    `compile.jit`."""
    if "xla_cpu_use_fusion_emitters" not in os.environ["XLA_FLAGS"]:
        return
    options = {**compile.compiler_options(), "xla_cpu_use_fusion_emitters": True}
    patch.setattr(compile, "compiler_options", lambda *platform: options)


def switch_off_kernels(patch):
    """No compiled kernels from here on."""
    patch.setattr(native, "expected", lambda: False)
    jax.clear_caches()  # a lowering that has been traced is not chosen again
