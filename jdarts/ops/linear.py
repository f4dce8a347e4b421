"""Pairs of linear maps that are each other's transpose, as JAX primitives.

A closed pair keeps every derivative inside the two implementations that were written
for speed: autodiff never takes one of them apart.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

__all__ = ["linear_pair"]


def linear_pair(
    name: str,
    forward: Callable[..., jax.Array],
    transposed: Callable[..., jax.Array],
) -> Callable[..., jax.Array]:
    """A function that is linear in its first argument, with derivatives of all orders.

    Args:
      name: of the primitives.
      forward: ``forward(x, *fixed, **params)``, linear in `x`; `fixed` are arrays that
        are not differentiated, `params` are static. Works on arrays with any number of
        leading axes in front of (height, width, channels).
      transposed: the transpose of `forward` in `x`, with the same `fixed` and `params`.

    Returns:
      ``forward`` as a differentiable function.
    """
    forth, back = Primitive(name), Primitive(f"{name}_transpose")
    _define(forth, forward, back)
    _define(back, transposed, forth)
    return forth.bind


def _define(
    primitive: Primitive, impl: Callable[..., jax.Array], transpose: Primitive
) -> None:
    def abstract(*args: ShapedArray, **params: Any) -> ShapedArray:
        out = jax.eval_shape(lambda *a: impl(*a, **params), *args)
        return ShapedArray(out.shape, out.dtype)

    def jvp(primals: tuple, tangents: tuple, **params: Any) -> tuple:
        out = primitive.bind(*primals, **params)
        tangent = tangents[0]
        if type(tangent) is ad.Zero:
            return out, ad.Zero.from_primal_value(out)
        return out, primitive.bind(tangent, *primals[1:], **params)

    def transposed(cotangent: Any, x: Any, *fixed: Any, **params: Any) -> list:
        if type(cotangent) is ad.Zero:
            return [ad.Zero(x.aval), *[None] * len(fixed)]
        return [transpose.bind(cotangent, *fixed, **params), *[None] * len(fixed)]

    def batched(args: tuple, axes: tuple, **params: Any) -> tuple[jax.Array, int]:
        size = next(
            a.shape[d] for a, d in zip(args, axes, strict=True) if d is not None
        )
        front = [
            jnp.broadcast_to(a, (size, *a.shape))
            if d is None
            else jnp.moveaxis(a, d, 0)
            for a, d in zip(args, axes, strict=True)
        ]
        return primitive.bind(*front, **params), 0

    primitive.def_impl(
        lambda *args, **params: jax.jit(impl, static_argnames=tuple(params))(
            *args, **params
        )
    )
    primitive.def_abstract_eval(abstract)
    mlir.register_lowering(primitive, mlir.lower_fun(impl, multiple_results=False))
    ad.primitive_jvps[primitive] = jvp
    ad.primitive_transposes[primitive] = transposed
    batching.primitive_batchers[primitive] = batched
