"""Depthwise convolution of many edges at once, twice differentiable, fast on CPU.

The convolution ``y = x * w`` is bilinear, and so are both of its gradients: all three
are partial derivatives of the trilinear form ``T(x, w, g) = sum(g . (x * w))``. They
are three JAX primitives here whose derivative rules call each other, so derivatives of
every order exist in forward and in reverse mode, and none leaves the set.

Each primitive has one lowering per platform. On CPU, where XLA's grouped convolution is
slow forward and very slow backward, a compiled kernel (`jdarts.ops.native`) or, where
there is none, sums of shifted products; XLA's own convolution elsewhere.

Shapes, for E edges that leave G sources (G divides E; edge e leaves ``e // (E // G)``):

* ``x``: ``[G, batch, height, width, channels]``
* ``w``: ``[E, kernel, kernel, channels]``
* ``y``, ``g``: ``[E, batch, out height, out width, channels]``
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from jdarts.ops import native
from jdarts.ops.features import edges_to_features, grouped_conv
from jdarts.ops.fence import fence
from jdarts.ops.windows import Window, gather_taps, scatter_taps

__all__ = ["depthwise_conv"]


def depthwise_conv(
    x: Float[Array, "source batch height width channel"],
    w: Float[Array, "edge kernel kernel channel"],
    *,
    stride: int = 1,
    dilation: int = 1,
) -> Float[Array, "edge batch out_height out_width channel"]:
    """Convolves every edge's source, channel by channel, with that edge's kernel.

    The padding is ``dilation * (kernel // 2)`` at every border, as in PyTorch (and not
    XLA's ``SAME``, which differs at stride 2).

    Args:
      x: the sources; their number divides the number of edges.
      w: the kernels, of odd side.
      stride: 1 or 2.
      dilation: distance of neighbouring taps, >= 1.
    """
    window = Window(w.shape[1], stride, dilation)
    return _conv_p.bind(x, w, window=window)


# --- CPU: compiled kernels ---------------------------------------------------------


def _conv_cpu(x: Array, w: Array, *, window: Window) -> Array:
    rows, columns = (window.out_size(size) for size in x.shape[2:4])
    out = (w.shape[0], x.shape[1], rows, columns, x.shape[-1])
    y = native.depthwise("conv", window, out, x, w)
    return _conv_shifts(x, w, window=window) if y is None else y


def _input_grad_cpu(
    g: Array, w: Array, *, window: Window, sources: int, size: tuple[int, int]
) -> Array:
    out = (sources, g.shape[1], *size, g.shape[-1])
    x = native.depthwise("input_grad", window, out, g, w)
    if x is None:
        return _input_grad_shifts(g, w, window=window, sources=sources, size=size)
    return x


def _weight_grad_cpu(x: Array, g: Array, *, window: Window) -> Array:
    out = (g.shape[0], window.kernel, window.kernel, g.shape[-1])
    w = native.depthwise("weight_grad", window, out, x, g)
    return _weight_grad_shifts(x, g, window=window) if w is None else w


# --- CPU: sums of shifted products -------------------------------------------------


def _conv_shifts(x: Array, w: Array, *, window: Window) -> Array:
    x = x[:, None]  # [G, 1, B, H, W, C], broadcast over the edges of a source
    w = w.reshape(x.shape[0], -1, *w.shape[1:])  # [G, M, k, k, C]
    terms = (
        tap * w[:, :, i, j][:, :, None, None, None]
        for i, j, tap in gather_taps(x, window)
    )
    y = functools.reduce(jnp.add, terms)
    return fence(y.reshape(-1, *y.shape[2:]))


def _input_grad_shifts(
    g: Array, w: Array, *, window: Window, sources: int, size: tuple[int, int]
) -> Array:
    w = w.reshape(sources, -1, *w.shape[1:])  # [G, M, k, k, C]
    g = g.reshape(sources, -1, *g.shape[1:])

    def combine(i: int, j: int, tap: Array) -> Array:
        terms = (
            tap[:, m] * w[:, m, i, j][:, None, None, None] for m in range(w.shape[1])
        )
        return functools.reduce(jnp.add, terms)

    return fence(scatter_taps((g,), (0.0,), combine, window, size))


def _weight_grad_shifts(x: Array, g: Array, *, window: Window) -> Array:
    x = x[:, None]
    grouped = g.reshape(x.shape[0], -1, *g.shape[1:])  # [G, M, B, H, W, C]
    # In float32 at least: a long sum in bfloat16 would stop growing.
    grouped = grouped.astype(jnp.promote_types(g.dtype, jnp.float32))
    products = tuple(tap * grouped for _, _, tap in gather_taps(x, window))
    # One variadic reduction reads every input once for all taps.
    zeros = (jnp.zeros((), grouped.dtype),) * len(products)
    sums = lax.reduce(
        products,
        zeros,
        lambda a, b: tuple(p + q for p, q in zip(a, b, strict=True)),
        (2, 3, 4),
    )
    k = window.kernel
    return jnp.stack(sums, axis=2).reshape(-1, k, k, g.shape[-1]).astype(g.dtype)


# --- other platforms: XLA's grouped convolution ------------------------------------


def _conv_grouped(x: Array, w: Array, *, window: Window) -> Array:
    sources, channels = x.shape[0], x.shape[-1]
    multiplier = w.shape[0] // sources
    # Output feature (source, channel, its edge) needs input (source, channel).
    rhs = w.reshape(sources, multiplier, *w.shape[1:]).transpose(2, 3, 0, 4, 1)
    rhs = rhs.reshape(*rhs.shape[:2], 1, -1)
    y = grouped_conv(edges_to_features(x), rhs, window, sources * channels)
    y = y.reshape(*y.shape[:3], sources, channels, multiplier)
    y = y.transpose(3, 5, 0, 1, 2, 4)
    return y.reshape(-1, *y.shape[2:])


def _input_grad_grouped(
    g: Array, w: Array, *, window: Window, sources: int, size: tuple[int, int]
) -> Array:
    x = jax.ShapeDtypeStruct((sources, g.shape[1], *size, g.shape[-1]), g.dtype)
    return jax.linear_transpose(lambda x: _conv_grouped(x, w, window=window), x)(g)[0]


def _weight_grad_grouped(x: Array, g: Array, *, window: Window) -> Array:
    k = window.kernel
    w = jax.ShapeDtypeStruct((g.shape[0], k, k, g.shape[-1]), g.dtype)
    return jax.linear_transpose(lambda w: _conv_grouped(x, w, window=window), w)(g)[0]


# --- the three primitives and their rules ------------------------------------------

_conv_p = Primitive("depthwise_conv")
_input_grad_p = Primitive("depthwise_conv_input_grad")
_weight_grad_p = Primitive("depthwise_conv_weight_grad")


def _input_grad(g: Array, w: Array, x_shape: tuple[int, ...], window: Window) -> Array:
    return _input_grad_p.bind(
        g, w, window=window, sources=x_shape[0], size=x_shape[2:4]
    )


@_conv_p.def_abstract_eval
def _conv_shape(x: ShapedArray, w: ShapedArray, *, window: Window) -> ShapedArray:
    sources, batch, height, width, channels = x.shape
    if w.shape[0] % sources or w.shape[1:] != (window.kernel, window.kernel, channels):
        raise TypeError(f"depthwise_conv: sources {x.shape} and kernels {w.shape}")
    if x.dtype != w.dtype:
        raise TypeError(f"depthwise_conv: sources {x.dtype} and kernels {w.dtype}")
    rows, columns = window.out_size(height), window.out_size(width)
    return ShapedArray((w.shape[0], batch, rows, columns, channels), x.dtype)


@_input_grad_p.def_abstract_eval
def _input_grad_shape(
    g: ShapedArray,
    w: ShapedArray,
    *,
    window: Window,
    sources: int,
    size: tuple[int, int],
) -> ShapedArray:
    return ShapedArray((sources, g.shape[1], *size, g.shape[-1]), g.dtype)


@_weight_grad_p.def_abstract_eval
def _weight_grad_shape(
    x: ShapedArray, g: ShapedArray, *, window: Window
) -> ShapedArray:
    k = window.kernel
    return ShapedArray((g.shape[0], k, k, g.shape[-1]), x.dtype)


def _conv_to_x(ct: Array, x: Any, w: Array, *, window: Window) -> Array:
    return _input_grad(ct, w, x.aval.shape, window)


def _conv_to_w(ct: Array, x: Array, w: Any, *, window: Window) -> Array:
    return _weight_grad_p.bind(x, ct, window=window)


def _input_grad_to_g(ct: Array, g: Any, w: Array, *, window: Window, **_: Any) -> Array:
    return _conv_p.bind(ct, w, window=window)


def _input_grad_to_w(ct: Array, g: Array, w: Any, *, window: Window, **_: Any) -> Array:
    return _weight_grad_p.bind(ct, g, window=window)


def _weight_grad_to_x(ct: Array, x: Any, g: Array, *, window: Window) -> Array:
    return _input_grad(g, ct, x.aval.shape, window)


def _weight_grad_to_g(ct: Array, x: Array, g: Any, *, window: Window) -> Array:
    return _conv_p.bind(x, ct, window=window)


def _leading(x: Array, axis: int | None, size: int) -> Array:
    """Moves (or broadcasts) the mapped axis to the front and merges it with axis 0."""
    if axis is None:
        x = jnp.broadcast_to(x, (size, *x.shape))
    else:
        x = jnp.moveaxis(x, axis, 0)
    return x.reshape(-1, *x.shape[2:])


def _batcher(primitive: Primitive) -> Callable:
    """vmap: the mapped axis becomes part of the source and edge axes."""

    def rule(args: tuple, axes: tuple, **params) -> tuple[Array, int]:
        size = next(
            a.shape[d] for a, d in zip(args, axes, strict=True) if d is not None
        )
        if "sources" in params:
            params["sources"] *= size
        merged = [_leading(a, d, size) for a, d in zip(args, axes, strict=True)]
        out = primitive.bind(*merged, **params)
        return out.reshape(size, -1, *out.shape[1:]), 0

    return rule


def _register(
    primitive: Primitive,
    cpu: Callable[..., Array],
    default: Callable[..., Array],
    to_first: Callable[..., Array],
    to_second: Callable[..., Array],
) -> None:
    primitive.def_impl(
        jax.jit(primitive.bind, static_argnames=("window", "sources", "size"))
    )
    for impl, platform in ((default, None), (cpu, "cpu")):
        lowering = mlir.lower_fun(impl, multiple_results=False)
        mlir.register_lowering(primitive, lowering, platform=platform)
    ad.defbilinear(primitive, to_first, to_second)
    batching.primitive_batchers[primitive] = _batcher(primitive)


_register(_conv_p, _conv_cpu, _conv_grouped, _conv_to_x, _conv_to_w)
_register(
    _input_grad_p,
    _input_grad_cpu,
    _input_grad_grouped,
    _input_grad_to_g,
    _input_grad_to_w,
)
_register(
    _weight_grad_p,
    _weight_grad_cpu,
    _weight_grad_grouped,
    _weight_grad_to_x,
    _weight_grad_to_g,
)
