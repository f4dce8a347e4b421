"""Pooling: maximum and mean over a window, twice differentiable in both modes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jdarts.ops import native
from jdarts.ops.fence import fence
from jdarts.ops.primitive import linear_pair, new_primitive
from jdarts.ops.windows import Window, gather_taps, scatter_taps

__all__ = ["avg_pool", "max_pool"]


def max_pool(
    x: Float[Array, "*leading height width channel"], window: Window
) -> Float[Array, "*leading out_height out_width channel"]:
    """The largest value in each window.

    Where several cells are largest, the first in row-major order gets the whole
    gradient, as in PyTorch.
    """
    winner = _winner_p.bind(lax.stop_gradient(x), window=window)
    return _select(x, winner, window=window, size=x.shape[-3:-1])


def avg_pool(
    x: Float[Array, "*leading height width channel"], window: Window
) -> Float[Array, "*leading out_height out_width channel"]:
    """The mean of each window over the cells that lie inside the image."""
    return _average(x, window=window, size=x.shape[-3:-1])


def _winner_shifts(x: Array, *, window: Window) -> Array:
    """The number of the tap that holds each window's maximum."""
    (_, _, best), *others = gather_taps(x, window, -jnp.inf)
    winner = jnp.zeros(best.shape, jnp.int8)
    for number, (_, _, tap) in enumerate(others, start=1):
        better = (tap > best) | jnp.isnan(tap)  # as in PyTorch
        best = jnp.where(better, tap, best)
        winner = jnp.where(better, jnp.int8(number), winner)
    return fence(winner)


def _select_forward(
    x: Array, winner: Array, *, window: Window, size: tuple[int, int]
) -> Array:
    out = jnp.zeros(winner.shape, x.dtype)
    for number, (_, _, tap) in enumerate(gather_taps(x, window)):
        out = jnp.where(winner == number, tap, out)
    return fence(out)


def _select_transposed(
    g: Array, winner: Array, *, window: Window, size: tuple[int, int]
) -> Array:
    def combine(i: int, j: int, gradient: Array, number: Array) -> Array:
        return jnp.where(number == i * window.kernel + j, gradient, 0)

    return fence(scatter_taps((g, winner), (0.0, -1), combine, window, size))


def _inverse_counts(window: Window, size: tuple[int, int]) -> np.ndarray:
    """1 / the number of cells of each window inside the image, ``[h, w, 1]``."""

    def inside(length: int) -> np.ndarray:
        first = np.arange(window.out_size(length)) * window.stride - window.padding
        taps = first[:, None] + window.dilation * np.arange(window.kernel)
        return ((taps >= 0) & (taps < length)).sum(axis=1)

    return 1.0 / (inside(size[0])[:, None, None] * inside(size[1])[None, :, None])


def _average_forward(x: Array, *, window: Window, size: tuple[int, int]) -> Array:
    total = sum(tap for _, _, tap in gather_taps(x, window))
    return fence(total * jnp.asarray(_inverse_counts(window, size), x.dtype))


def _average_transposed(g: Array, *, window: Window, size: tuple[int, int]) -> Array:
    shares = g * jnp.asarray(_inverse_counts(window, size), g.dtype)
    return fence(
        scatter_taps((shares,), (0.0,), lambda i, j, share: share, window, size)
    )


# --- CPU: compiled kernels ---------------------------------------------------------


def _pooled(x: Array, window: Window, dtype: Any = None) -> jax.ShapeDtypeStruct:
    rows, columns = (window.out_size(size) for size in x.shape[-3:-1])
    shape = (*x.shape[:-3], rows, columns, x.shape[-1])
    return jax.ShapeDtypeStruct(shape, dtype or x.dtype)


def _image(g: Array, size: tuple[int, int]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((*g.shape[:-3], *size, g.shape[-1]), g.dtype)


def _winner_cpu(x: Array, *, window: Window) -> Array:
    out = native.pool("winner", window, _pooled(x, window, jnp.int8), x)
    return _winner_shifts(x, window=window) if out is None else out


def _select_cpu(
    x: Array, winner: Array, *, window: Window, size: tuple[int, int]
) -> Array:
    out = native.pool("select", window, _pooled(x, window), x, winner)
    return _select_forward(x, winner, window=window, size=size) if out is None else out


def _select_transposed_cpu(
    g: Array, winner: Array, *, window: Window, size: tuple[int, int]
) -> Array:
    out = native.pool("select_transposed", window, _image(g, size), g, winner)
    if out is None:
        return _select_transposed(g, winner, window=window, size=size)
    return out


def _average_cpu(x: Array, *, window: Window, size: tuple[int, int]) -> Array:
    out = native.pool("average", window, _pooled(x, window), x)
    return _average_forward(x, window=window, size=size) if out is None else out


def _average_transposed_cpu(
    g: Array, *, window: Window, size: tuple[int, int]
) -> Array:
    out = native.pool("average_transposed", window, _image(g, size), g)
    return _average_transposed(g, window=window, size=size) if out is None else out


_winner_p = new_primitive("pool_winner", _winner_shifts, _winner_cpu)
_select = linear_pair(
    "pool_select",
    _select_forward,
    _select_transposed,
    _select_cpu,
    _select_transposed_cpu,
)
_average = linear_pair(
    "pool_average",
    _average_forward,
    _average_transposed,
    _average_cpu,
    _average_transposed_cpu,
)
