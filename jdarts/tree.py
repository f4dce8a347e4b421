"""Arithmetic on pytrees."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jdarts.lazy import LazyModule
from jdarts.types import PyTree

if TYPE_CHECKING:
    import chex
else:
    chex = LazyModule("chex")

__all__ = ["add_scaled", "all_finite", "dot", "norm", "size"]


def add_scaled(x: PyTree, scale: Any, y: PyTree) -> PyTree:
    """``x + scale * y``, leaf by leaf; an AssertionError for leaves of other shapes."""
    chex.assert_trees_all_equal_shapes(x, y)
    return jax.tree.map(lambda a, b: a + scale * b, x, y)


def dot(x: PyTree, y: PyTree) -> jax.Array:
    """The inner product of two trees; an AssertionError if their shapes differ."""
    chex.assert_trees_all_equal_shapes(x, y)
    return _total(lambda a, b: jnp.vdot(a, b), x, y)


def norm(x: PyTree) -> jax.Array:
    """The Euclidean norm over all leaves."""
    return jnp.sqrt(_total(lambda a: jnp.sum(jnp.square(a)), x))


def size(x: PyTree) -> int:
    """The number of scalars in all leaves."""
    return sum(leaf.size for leaf in jax.tree.leaves(x))


def all_finite(x: PyTree) -> jax.Array:
    """Whether no leaf holds a NaN or an infinity."""
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(x)]
    return jnp.all(jnp.stack(leaves))


def _total(function: Callable[..., jax.Array], *trees: PyTree) -> jax.Array:
    return sum(jax.tree.leaves(jax.tree.map(function, *trees)), jnp.zeros(()))
