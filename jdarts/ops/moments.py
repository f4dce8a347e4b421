"""What all normalisers compute with, in plain JAX: moments of a batch, and ``P``."""

import jax
import jax.numpy as jnp
from jax import Array, lax

__all__ = ["EPSILON", "batch_mean", "centre", "per_channel", "project", "widened"]

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


def centre(x: Array, epsilon: float = EPSILON) -> tuple[Array, Array, Array, Array]:
    """``(x - mean, r, mean, var)``, the variance biased, ``r = 1 / sqrt(var + eps)``;
    in float32 at least."""
    wide = widened(x)
    mean = batch_mean(wide)
    centred = wide - per_channel(mean)
    var = batch_mean(jnp.square(centred))
    return centred, lax.rsqrt(var + epsilon), mean, var


def project(t: Array, n: Array) -> Array:
    """``P(t) = t - <t> - n <n t>``, in float32 at least."""
    t = widened(t)
    return t - per_channel(batch_mean(t)) - n * per_channel(batch_mean(n * t))
