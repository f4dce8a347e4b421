"""A stage as dense convolutions, for matrix units with wide tiles (TPU).

Depthwise and pointwise convolution are one convolution with the composed kernel

    K[i, j, c, o] = D[i, j, c] P[c, o].

A TPU multiplies tiles of 128 x 128 channels, however few are used: a depthwise
convolution costs it as much as the dense one with K, and writes an intermediate value
for the pointwise one to read. With K there is neither, and the edges of a source fill
the tile. Edges with own sources stand in a block-diagonal kernel, as many as fit.

Derivatives are jax's own.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array, lax

from jdarts.ops.windows import Window

__all__ = ["composed", "fits"]

_TILE = 128  # channels


def fits(channels: int) -> bool:
    """Whether a composed kernel of so many channels costs no more than a depthwise."""
    return channels <= _TILE


def composed(
    x: Array, p: Array, d: Sequence[Array], windows: Sequence[Window]
) -> Array:
    """``P (D * relu(x))`` of every row; shapes as in `jdarts.ops.stage`."""
    edges, x = len(d[0]), jax.nn.relu(x)
    rows = [slice(op * edges, (op + 1) * edges) for op in range(len(d))]
    return jnp.concatenate(
        [
            _convolve(x if len(x) == 1 else x[row], p[row], w, window)
            for row, w, window in zip(rows, d, windows, strict=True)
        ]
    )


def _convolve(x: Array, p: Array, w: Array, window: Window) -> Array:
    """One op on its edges: ``[1 or edge, ...]`` to ``[edge, ...]``."""
    kernel = w[..., None] * p[:, None, None]
    blocks, kernel = _shared(kernel) if len(x) == 1 else _block_diagonal(kernel)
    y = lax.conv_general_dilated(
        _features_last(x),
        kernel,
        window_strides=(window.stride,) * 2,
        padding=((window.padding,) * 2,) * 2,
        rhs_dilation=(window.dilation,) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=blocks,
    )
    return jnp.moveaxis(y.reshape(*y.shape[:3], len(p), -1), 3, 0)


def _features_last(x: Array) -> Array:
    """``[edge, n, h, w, c]`` as ``[n, h, w, edge c]``."""
    return jnp.moveaxis(x, 0, 3).reshape(*x.shape[1:4], -1)


def _shared(kernel: Array) -> tuple[int, Array]:
    """One block: from a source's channels to those of all edges."""
    return 1, _features_last(kernel)


def _block_diagonal(kernel: Array) -> tuple[int, Array]:
    """Blocks of as many edges as fit a tile; other edges' channels count zero."""
    edges, k, _, channels, out = kernel.shape
    sizes = [n for n in range(1, edges + 1) if edges % n == 0 and fits(n * channels)]
    size = max(sizes, default=1)
    blocks = kernel.reshape(-1, size, k, k, channels, 1, out)
    blocks *= jnp.eye(size, dtype=kernel.dtype)[:, None, None, None, :, None]
    diagonal = blocks.transpose(2, 3, 1, 4, 0, 5, 6)  # [k, k, size, c, b, size, o]
    return len(blocks), diagonal.reshape(k, k, size * channels, edges * out)
