"""What all normalisers compute with: means over batch, height and width."""

import jax
import jax.numpy as jnp
from jax import Array

__all__ = ["EPSILON", "batch_mean", "per_channel", "widened"]

EPSILON = 1e-5
"""Added to a variance."""


def batch_mean(x: Array) -> Array:
    """``<x>``: over batch, height and width."""
    return x.mean((-4, -3, -2))


def widened(x: Array) -> Array:
    """In float32 at least: a sum over a batch in bfloat16 would stop growing."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def per_channel(value: jax.Array) -> jax.Array:
    """``[edge, channel]`` against ``[edge, batch, height, width, channel]``."""
    return value[..., None, None, None, :]
