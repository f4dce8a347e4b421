"""The search that these tests run, and what they read from its folder."""

import contextlib
import functools

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from jdarts.cli import parse_search
from jdarts.io import Checkpoints
from jdarts.loops.search import setup

# Long enough to be caught in the middle; first order is traced and compiled soonest.
BASE = (
    "smoke --channels 2 --layers 3 --batch-size 8 --data.limit 512 --log-every 1 "
    "--epochs 3 --method.hypergradient.name first_order"
).split()
STEPS, PER_EPOCH, EPOCHS = 96, 32, (1, 2, 3)
# A checkpoint after every chunk of steps.
OFTEN = ("--checkpoint-minutes", "1e-9")


@contextlib.contextmanager
def cached_in(folder):
    """This process, too, compiles into that folder."""
    names = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"
    before = {name: getattr(jax.config, name) for name in names}
    try:
        for name, value in zip(names, (str(folder), 0), strict=True):
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


@functools.cache
def base_setup():
    return setup(parse_search(BASE).config)


def last_checkpoint(folder):
    with Checkpoints(folder / "checkpoints") as checkpoints:
        return checkpoints.restore(base_setup().state)


def assert_same_run(found, expected):
    """Everything that a run leaves is the same, bit for bit."""
    for name in ("genotype.json", "metrics.jsonl", "arch.jsonl", "summary.txt"):
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name
    a, b = last_checkpoint(found), last_checkpoint(expected)
    assert (a.step, a.meta) == (b.step, b.meta)
    leaves = jax.tree.leaves_with_path(b.state)
    assert jax.tree.structure(a.state) == jax.tree.structure(b.state)
    for (path, x), y in zip(leaves, jax.tree.leaves(a.state), strict=True):
        np.testing.assert_array_equal(x, y, err_msg=jax.tree_util.keystr(path))
