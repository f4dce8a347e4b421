"""ReLU and a 1x1 convolution as one kernel, with derivatives of every order.

With the ReLU's mask m (0 where x <= 0, else 1) held fixed, as under differentiation,
the form

    Q(a, P, t) = < t, (m a) P >

is linear in each of its three arguments. The function is Q's derivative in t at a = x,
and each derivative of one of Q's derivatives is another one of them. They are three
primitives here: none leaves the set, the rectified map is never written to memory, and
only x itself is kept for the backward pass.

Shapes: ``x``, ``a`` ``[..., pixels, channels]``; ``P`` ``[..., channels, out]``; ``t``
``[..., pixels, out]``, with equal leading axes.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad
from jaxtyping import Array, Float

from jdarts.ops import native
from jdarts.ops.primitive import Implementation, new_primitive, zero_tangent

__all__ = ["relu_product"]


def relu_product(
    x: Float[Array, "*pixel channel"], p: Float[Array, "channel out"]
) -> Float[Array, "*pixel out"]:
    """``relu(x) @ p`` at every pixel."""
    flat = x.reshape(-1, x.shape[-1])
    return _product_p.bind(flat, flat, p).reshape(*x.shape[:-1], p.shape[-1])


# --- plain definitions, and their kernels ---------------------------------------------


def _gate(x: Array, a: Array) -> Array:
    return jnp.where(x <= 0, jnp.zeros((), a.dtype), a)  # lets a NaN through


def _product_plain(x: Array, a: Array, p: Array) -> Array:
    """The derivative of Q in t."""
    return jnp.matmul(_gate(x, a), p)


def _pull_plain(x: Array, t: Array, p: Array) -> Array:
    """The derivative of Q in a."""
    return _gate(x, jnp.matmul(t, p.mT))


def _outer_plain(x: Array, a: Array, t: Array) -> Array:
    """The derivative of Q in P."""
    return jnp.matmul(_gate(x, a).mT, t)


def _compiled(name: str, plain: Implementation) -> Implementation:
    """The kernel of that name; `plain` where there is none."""

    def cpu(*arrays: Array) -> Array:
        if len({a.dtype for a in arrays}) > 1:
            return plain(*arrays)
        return native.call_or(name, plain, arrays, arrays[0].shape[:-2])

    return cpu


# --- the primitives and their rules ---------------------------------------------------


def _new(name: str, plain: Implementation) -> Primitive:
    return new_primitive(name, plain, _compiled(name, plain))


_product_p = _new("relu_product", _product_plain)
_pull_p = _new("relu_product_pull", _pull_plain)
_outer_p = _new("relu_product_outer", _outer_plain)


def _bilinear_jvp(primitive: Primitive, primals: tuple, tangents: tuple) -> tuple:
    """Of a primitive that is linear in its second and in its third argument."""
    x, first, second = primals
    value, (_, along_first, along_second) = primitive.bind(*primals), tangents
    terms = []
    if type(along_first) is not ad.Zero:
        terms.append(primitive.bind(x, along_first, second))
    if type(along_second) is not ad.Zero:
        terms.append(primitive.bind(x, first, along_second))
    return value, functools.reduce(jnp.add, terms) if terms else zero_tangent(value)


def _transpose(
    to_first: Callable[..., Array],
    to_second: Callable[..., Array],
    cotangent: Any,
    x: Array,
    first: Any,
    second: Any,
) -> list:
    undefined = first if ad.is_undefined_primal(first) else second
    if type(cotangent) is ad.Zero:
        found = ad.Zero(undefined.aval)
    elif undefined is first:
        found = to_first(x, cotangent, second)
    else:
        found = to_second(x, cotangent, first)
    return [None, found, None] if undefined is first else [None, None, found]


def _swapped(primitive: Primitive) -> Callable[..., Array]:
    return lambda x, cotangent, other: primitive.bind(x, other, cotangent)


# For each: the gradients in its second and in its third argument.
_RULES = {
    _product_p: (_pull_p.bind, _swapped(_outer_p)),  # in a, P
    _pull_p: (_product_p.bind, _outer_p.bind),  # in t, P
    _outer_p: (_swapped(_pull_p), _swapped(_product_p)),  # in a, t
}

for _primitive, _to in _RULES.items():
    ad.primitive_jvps[_primitive] = functools.partial(_bilinear_jvp, _primitive)
    ad.primitive_transposes[_primitive] = functools.partial(_transpose, *_to)
