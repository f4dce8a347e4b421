"""Dense convolution whose derivatives XLA:CPU computes fast in loops, too.

XLA:CPU has fast code for convolutions in one layout (images NHWC, kernels HWIO). It
brings others into it, but not inside of a loop, where a search step is: the gradients
that jax's own rules ask for then take ten times as long. Here they are written in that
layout for CPU.

``y = x * w`` is bilinear, and so are its gradients; the three primitives are each
other's derivatives, as in `jdarts.ops.depthwise`.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching
from jaxtyping import Array, Float

from jdarts.ops.primitive import new_primitive, over_leading_axes, stacked

__all__ = ["conv", "pointwise"]

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_RANK = 4  # of images and of kernels


def conv(
    x: Float[Array, "batch height width channel"],
    w: Float[Array, "kernel kernel channel out_channel"],
    *,
    stride: int = 1,
    padding: int = 0,
) -> Float[Array, "batch out_height out_width out_channel"]:
    """Convolves images with a square kernel.

    Args:
      x: the images.
      w: the kernel.
      stride: of the window, >= 1.
      padding: zeros at every border, >= 0.

    Raises:
      TypeError: for a kernel that is not square or of another number of channels.
    """
    if w.shape[0] != w.shape[1] or x.shape[-1] != w.shape[2]:
        raise TypeError(f"conv: images {x.shape} and kernel {w.shape}")
    return _conv_p.bind(x, w, stride=stride, padding=padding)


def pointwise(
    x: Float[Array, "source batch height width channel"],
    w: Float[Array, "edge channel out"],
) -> Float[Array, "edge batch height width out"]:
    """A 1x1 convolution for every edge, as one batched matrix product."""
    shape = x.shape
    y = jnp.matmul(x.reshape(shape[0], -1, shape[-1]), w)
    return y.reshape(w.shape[0], *shape[1:-1], w.shape[-1])


def _conv(x: Array, w: Array, *, stride: int, padding: int) -> Array:
    return lax.conv_general_dilated(
        x, w, (stride,) * 2, ((padding,) * 2,) * 2, dimension_numbers=_LAYOUT
    )


def _input_grad(
    g: Array, w: Array, *, stride: int, padding: int, size: tuple[int, int]
) -> Array:
    x = jax.ShapeDtypeStruct((len(g), *size, w.shape[2]), g.dtype)
    forward = functools.partial(_conv, w=w, stride=stride, padding=padding)
    return jax.linear_transpose(forward, x)(g)[0]


def _weight_grad(
    x: Array, g: Array, *, stride: int, padding: int, kernel: int
) -> Array:
    w = jax.ShapeDtypeStruct((kernel, kernel, x.shape[-1], g.shape[-1]), g.dtype)
    forward = functools.partial(_conv, x, stride=stride, padding=padding)
    return jax.linear_transpose(forward, w)(g)[0]


def _input_grad_cpu(
    g: Array, w: Array, *, stride: int, padding: int, size: tuple[int, int]
) -> Array:
    """The cotangents, stride - 1 zeros between them, with the kernel turned around."""
    pads = [
        (len(w) - 1 - padding, side - 1 - (out - 1) * stride + padding, stride - 1)
        for side, out in zip(size, g.shape[1:3], strict=True)
    ]
    spread = lax.pad(g, jnp.zeros((), g.dtype), ((0, 0, 0), *pads, (0, 0, 0)))
    turned = w[::-1, ::-1].swapaxes(2, 3)
    return _conv(spread, turned, stride=1, padding=0)


def _weight_grad_cpu(
    x: Array, g: Array, *, stride: int, padding: int, kernel: int
) -> Array:
    """A convolution of channels (as images) over the batch (as channels)."""
    pads = [
        (padding, kernel + (out - 1) * stride - side - padding)
        for side, out in zip(x.shape[1:3], g.shape[1:3], strict=True)
    ]
    w = lax.conv_general_dilated(
        x.transpose(3, 1, 2, 0),
        g.transpose(1, 2, 0, 3),
        (1, 1),
        pads,
        rhs_dilation=(stride, stride),
        dimension_numbers=_LAYOUT,
    )
    return w.transpose(1, 2, 0, 3)


def _one_by_one(function: Callable[..., Array]) -> Callable[..., Array]:
    """As `jax.vmap`, without convolutions in groups, which XLA:CPU does slowly."""
    return lambda a, b: jnp.stack([function(*pair) for pair in zip(a, b, strict=True)])


def _primitive(
    name: str, default: Callable[..., Array], cpu: Callable[..., Array]
) -> Primitive:
    return new_primitive(
        name,
        over_leading_axes(default, _RANK),
        over_leading_axes(cpu, _RANK, _one_by_one),
    )


_conv_p = _primitive("dense_conv", _conv, _conv)
_input_grad_p = _primitive("dense_conv_input_grad", _input_grad, _input_grad_cpu)
_weight_grad_p = _primitive("dense_conv_weight_grad", _weight_grad, _weight_grad_cpu)


def _to_x(ct: Array, x: Any, w: Array, **window: int) -> Array:
    return _input_grad_p.bind(ct, w, size=x.aval.shape[-3:-1], **window)


def _to_w(ct: Array, x: Array, w: Any, **window: int) -> Array:
    return _weight_grad_p.bind(x, ct, kernel=w.aval.shape[-3], **window)


def _input_grad_to_g(
    ct: Array, g: Any, w: Array, *, size: tuple[int, int], **window: int
) -> Array:
    return _conv_p.bind(ct, w, **window)


def _input_grad_to_w(
    ct: Array, g: Array, w: Any, *, size: tuple[int, int], **window: int
) -> Array:
    return _weight_grad_p.bind(ct, g, kernel=w.aval.shape[-3], **window)


def _weight_grad_to_x(
    ct: Array, x: Any, g: Array, *, kernel: int, **window: int
) -> Array:
    return _input_grad_p.bind(g, ct, size=x.aval.shape[-3:-1], **window)


def _weight_grad_to_g(
    ct: Array, x: Array, g: Any, *, kernel: int, **window: int
) -> Array:
    return _conv_p.bind(x, ct, **window)


def _fold_images(primitive: Primitive) -> None:
    """vmap over the images alone: they are a larger batch."""

    def rule(args: tuple, axes: tuple, **params: Any) -> tuple[Any, Any]:
        images, kernel = args
        if axes[1] is not None or kernel.ndim > _RANK:
            return stacked(primitive, args, axes, **params)
        many = jnp.moveaxis(images, axes[0], 0)
        out = primitive.bind(many.reshape(-1, *many.shape[2:]), kernel, **params)
        return out.reshape(*many.shape[:2], *out.shape[1:]), 0

    batching.primitive_batchers[primitive] = rule


_fold_images(_conv_p)
_fold_images(_input_grad_p)
ad.defbilinear(_conv_p, _to_x, _to_w)
ad.defbilinear(_input_grad_p, _input_grad_to_g, _input_grad_to_w)
ad.defbilinear(_weight_grad_p, _weight_grad_to_x, _weight_grad_to_g)
