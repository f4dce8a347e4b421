"""Edges as feature channels: many small convolutions as one of XLA's."""

import jax.numpy as jnp
from jax import Array, lax

from jdarts.ops.windows import Window

__all__ = ["edges_to_features", "features_to_edges", "grouped_conv"]


def edges_to_features(x: Array) -> Array:
    """``[edge, n, h, w, c]`` as ``[n, h, w, edge c]``; the same for a kernel's axes."""
    return jnp.moveaxis(x, 0, 3).reshape(*x.shape[1:4], -1)


def features_to_edges(y: Array, edges: int) -> Array:
    """The inverse: ``[n, h, w, edge c]`` as ``[edge, n, h, w, c]``."""
    return jnp.moveaxis(y.reshape(*y.shape[:3], edges, -1), 3, 0)


def grouped_conv(x: Array, kernel: Array, window: Window, groups: int) -> Array:
    """XLA's convolution, of NHWC with HWIO, whose features form groups."""
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(window.stride,) * 2,
        padding=((window.padding,) * 2,) * 2,
        rhs_dilation=(window.dilation,) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
