"""Sliding windows over images as sums of shifted slices.

Every window op here walks over the taps ``(i, j)`` of a ``kernel x kernel`` window. Tap
``(i, j)`` of output pixel ``(h, w)`` reads input pixel
``(stride h + dilation i - padding, stride w + dilation j - padding)``.
"""

import dataclasses
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from jax import lax

from jdarts.ops.fence import fence

__all__ = ["Window", "every", "gather_taps", "scatter_taps"]


@dataclasses.dataclass(frozen=True)
class Window:
    """A square window, padded so that stride 1 keeps the size and stride 2 halves it.

    Attributes:
      kernel: side of the window, odd.
      stride: 1 or 2.
      dilation: distance of neighbouring taps.
    """

    kernel: int
    stride: int = 1
    dilation: int = 1

    @property
    def padding(self) -> int:
        """Rows (and columns) of padding at each border."""
        return self.dilation * (self.kernel // 2)

    @property
    def taps(self) -> list[tuple[int, int]]:
        """All ``(i, j)`` in row-major order."""
        return [(i, j) for i in range(self.kernel) for j in range(self.kernel)]

    def out_size(self, size: int) -> int:
        """Output rows for `size` input rows."""
        span = self.dilation * (self.kernel - 1) + 1
        return (size + 2 * self.padding - span) // self.stride + 1


def _pad(x: jax.Array, before: int, after: tuple[int, int], value: float) -> jax.Array:
    """Pads height and width, the axes -3 and -2."""
    none = (0, 0, 0)
    config = [none] * (x.ndim - 3)
    config += [(before, after[0], 0), (before, after[1], 0), none]
    return lax.pad(x, jnp.asarray(value, x.dtype), config)


def every(
    x: jax.Array,
    stride: int,
    start: tuple[int, int] = (0, 0),
    count: tuple[int, int] | None = None,
) -> jax.Array:
    """Every `stride`-th row and column of images.

    As ``x[..., ::stride, ::stride, :]``, which in JAX before 0.8 is a gather, and its
    gradient a scatter: XLA:CPU takes long to compile them and runs them slowly.

    Args:
      x: ``[..., height, width, channels]``.
      stride: 1 or more.
      start: the first row and column.
      count: how many rows and columns; by default all there are.
    """
    if count is None:
        rows, columns = (n - at for n, at in zip(x.shape[-3:-1], start, strict=True))
        count = -(-rows // stride), -(-columns // stride)
    ends = [at + stride * (n - 1) + 1 for at, n in zip(start, count, strict=True)]
    lead = x.shape[:-3]
    return lax.slice(
        x,
        (*[0] * len(lead), *start, 0),
        (*lead, *ends, x.shape[-1]),
        (*[1] * len(lead), stride, stride, 1),
    )


def gather_taps(
    x: jax.Array, window: Window, pad_value: float = 0.0
) -> Iterator[tuple[int, int, jax.Array]]:
    """What each tap sees: ``(i, j, [..., out height, out width, channels])``.

    Args:
      x: ``[..., height, width, channels]``.
      window: the window.
      pad_value: what lies outside the image.
    """
    height, width = x.shape[-3:-1]
    rows, columns = window.out_size(height), window.out_size(width)
    padding, stride = window.padding, window.stride
    padded = fence(_pad(x, padding, (padding, padding), pad_value))
    for i, j in window.taps:
        top, left = window.dilation * i, window.dilation * j
        yield i, j, every(padded, stride, (top, left), (rows, columns))


def scatter_taps(
    operands: tuple[jax.Array, ...],
    pad_values: tuple[float, ...],
    combine: Callable[..., jax.Array],
    window: Window,
    size: tuple[int, int],
) -> jax.Array:
    """The transpose of `gather_taps`: sums the taps' contributions where they looked.

    Computed without scatter: input pixels fall into ``stride x stride`` phases, and
    each phase is a sum of shifted slices of the output-sized operands.

    Args:
      operands: output-sized arrays ``[..., out height, out width, channels]``.
      pad_values: for each operand a value whose contribution is zero.
      combine: ``combine(i, j, *slices)`` gives the contribution of tap ``(i, j)``.
      window: the window.
      size: height and width of the result.

    Returns:
      ``[..., height, width, channels]``.
    """
    stride, dilation, padding = window.stride, window.dilation, window.padding
    reach = (dilation * (window.kernel - 1)) // stride
    # Phase r holds the padded rows stride * t + r; it needs output rows t - offset.
    counts = tuple(-(-(n + padding) // stride) for n in size)
    rows, columns = operands[0].shape[-3:-1]
    after = (max(0, counts[0] - rows), max(0, counts[1] - columns))
    padded = [
        fence(_pad(x, reach, after, value))
        for x, value in zip(operands, pad_values, strict=True)
    ]

    def phase(row: int, column: int) -> jax.Array:
        total = None
        for i, j in window.taps:
            if (dilation * i) % stride != row or (dilation * j) % stride != column:
                continue
            top = reach - (dilation * i) // stride
            left = reach - (dilation * j) // stride
            slices = [
                x[..., top : top + counts[0], left : left + counts[1], :]
                for x in padded
            ]
            term = combine(i, j, *slices)
            total = term if total is None else total + term
        if total is None:
            slices = [x[..., : counts[0], : counts[1], :] for x in padded]
            total = jnp.zeros_like(combine(0, 0, *slices))
        return total

    if stride == 1:
        whole = phase(0, 0)
    else:
        rows = [
            jnp.stack([phase(r, c) for c in range(stride)], axis=-2)
            for r in range(stride)
        ]
        whole = jnp.stack(rows, axis=-4)  # [..., t, row phase, t, column phase, C]
        whole = whole.reshape(
            *whole.shape[:-5], counts[0] * stride, counts[1] * stride, whole.shape[-1]
        )
    return whole[..., padding : padding + size[0], padding : padding + size[1], :]
