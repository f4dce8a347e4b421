"""A stage as dense convolutions, for matrix units with wide tiles (TPU).

Depthwise and pointwise convolution are one convolution with the composed kernel

    K[i, j, c, o] = D[i, j, c] P[c, o].

A TPU multiplies tiles of 128 channels (v5e), and XLA pads a depthwise convolution of
fewer to them: the dense one takes no more tiles, has no intermediate value in memory,
and the edges of a source fill the tile. Edges with own sources stand in a
block-diagonal kernel, as many as fit (an infinite value of one reaches its block). What
the compiler says of both: `benchmarks/README.md`.

Derivatives are jax's own.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from jdarts.ops.features import edges_to_features, features_to_edges, grouped_conv
from jdarts.ops.windows import Window

__all__ = ["composed", "fits"]

_TILE = 128  # channels


def fits(channels: int) -> bool:
    """Whether so many channels stay within one tile."""
    return channels <= _TILE


def composed(
    x: Array, p: Array, d: Sequence[Array], windows: Sequence[Window]
) -> Array:
    """``P (D * relu(x))`` of every row; shapes as in `jdarts.ops.stage`.

    Every op has one convolution for all of its edges; ops of different rows with one
    edge each share none.
    """
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
    # In float32 at least: derivatives sum this product up.
    wide = jnp.promote_types(x.dtype, jnp.float32)
    kernel = w.astype(wide)[..., None] * p.astype(wide)[:, None, None]
    if len(x) == 1:
        blocks, kernel = 1, edges_to_features(kernel)
    else:
        blocks, kernel = _block_diagonal(kernel)
    y = grouped_conv(edges_to_features(x), kernel.astype(x.dtype), window, blocks)
    return features_to_edges(y, len(p))


def _block_diagonal(kernel: Array) -> tuple[int, Array]:
    """Blocks of as many edges as fit a tile, and their number."""
    edges, k, _, channels, out = kernel.shape
    sizes = [n for n in range(1, edges + 1) if edges % n == 0 and fits(n * channels)]
    size = max(sizes)
    blocks = kernel.reshape(-1, size, k, k, channels, 1, out)
    blocks *= jnp.eye(size, dtype=kernel.dtype)[:, None, None, None, :, None]
    diagonal = blocks.transpose(2, 3, 1, 4, 0, 5, 6)  # [k, k, size, c, b, size, o]
    return len(blocks), diagonal.reshape(k, k, size * channels, edges * out)
