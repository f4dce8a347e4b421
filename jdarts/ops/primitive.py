"""JAX primitives with one implementation per platform.

Autodiff never takes a primitive apart: each has derivative rules that stay within the
implementations that were written for speed.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir, partial_eval

__all__ = [
    "drop_unused",
    "filled",
    "jvp_along",
    "linear_pair",
    "moves",
    "new_primitive",
    "over_leading_axes",
    "plain_tangents",
    "stacked",
    "where_undefined",
    "without_unused",
    "zero_tangent",
    "zeros_where_undefined",
]

Implementation = Callable[..., Any]


def new_primitive(
    name: str,
    impl: Implementation,
    cpu: Implementation,
    *,
    tpu: Implementation | None = None,
    multiple: bool = False,
) -> Primitive:
    """A primitive without derivative rules.

    Args:
      name: of the primitive.
      impl: ``impl(*arrays, **params)`` in plain JAX; `params` are static. Works on
        arrays with further leading axes, all with the same ones: that is how it is
        vectorised.
      cpu: the same for CPU.
      tpu: the same for TPU; by default `impl`.
      multiple: whether it returns a tuple of arrays.
    """
    primitive = Primitive(name)
    primitive.multiple_results = multiple

    @functools.cache  # a network asks for the same few shapes hundreds of times
    def shapes(args: tuple[ShapedArray, ...], params: tuple) -> list[ShapedArray]:
        out = jax.eval_shape(functools.partial(impl, **dict(params)), *args)
        return [ShapedArray(o.shape, o.dtype) for o in jax.tree.leaves(out)]

    def abstract(*args: ShapedArray, **params: Any) -> Any:
        plain = tuple(ShapedArray(a.shape, a.dtype) for a in args)
        avals = shapes(plain, tuple(sorted(params.items())))
        return avals if multiple else avals[0]

    @functools.cache  # so that it compiles once
    def jitted(params: tuple) -> Callable[..., Any]:
        return jax.jit(functools.partial(primitive.bind, **dict(params)))

    def evaluate(*args: Any, **params: Any) -> Any:
        return jitted(tuple(sorted(params.items())))(*args)

    primitive.def_impl(evaluate)
    primitive.def_abstract_eval(abstract)
    lowerings = {None: impl, "cpu": cpu}
    if tpu is not None:
        lowerings["tpu"] = tpu
    for platform, function in lowerings.items():
        lowering = mlir.lower_fun(function, multiple_results=multiple)
        mlir.register_lowering(primitive, lowering, platform=platform)
    batching.primitive_batchers[primitive] = functools.partial(stacked, primitive)
    return primitive


def stacked(
    primitive: Primitive, args: tuple, axes: tuple, **params: Any
) -> tuple[Any, Any]:
    """The rule for vmap: all operands get the mapped axis in front."""
    size = next(a.shape[d] for a, d in zip(args, axes, strict=True) if d is not None)
    front = [
        jnp.broadcast_to(a, (size, *a.shape)) if d is None else jnp.moveaxis(a, d, 0)
        for a, d in zip(args, axes, strict=True)
    ]
    out = primitive.bind(*front, **params)
    return out, [0] * len(out) if primitive.multiple_results else 0


def drop_unused(
    primitive: Primitive, rule: Callable[[Sequence[bool], Any], tuple]
) -> None:
    """Gives a primitive its rule for dead code.

    Args:
      primitive: the primitive.
      rule: ``rule(used, equation)``, which of the results are read and the equation,
        returns which of the operands are still read and the new equation, or None.
    """

    # JAX before 0.12 passes these two; later ones, between them, which operands are
    # live. That is about mutable references, which no operand here is.
    def called(used: Sequence[bool], *rest: Any) -> tuple:
        return rule(used, rest[-1])

    partial_eval.dce_rules[primitive] = called


def filled(tangents: Sequence) -> list:
    """The same with arrays of zeros for those that do not move."""
    return [ad.instantiate_zeros(tangent) for tangent in tangents]


def jvp_along(function: Callable[..., Any], primals: tuple, along: dict) -> Any:
    """The derivative of a function along some of its arguments.

    Args:
      function: the function.
      primals: all of its arguments, each an array or a tree of arrays.
      along: tangents by the arguments' positions.
    """

    def moving(*moved: Any) -> Any:
        arguments = list(primals)
        for i, value in zip(along, moved, strict=True):
            arguments[i] = value
        return function(*arguments)

    start = tuple(primals[i] for i in along)
    return jax.jvp(moving, start, tuple(along.values()))[1]


def linear_pair(
    name: str,
    forward: Implementation,
    transposed: Implementation,
    cpu_forward: Implementation,
    cpu_transposed: Implementation,
) -> Callable[..., jax.Array]:
    """A function that is linear in its first argument, with derivatives of all orders.

    Args:
      name: of the primitives.
      forward: ``forward(x, *fixed, **params)``, linear in `x`; `fixed` are arrays that
        are not differentiated. See `new_primitive`.
      transposed: the transpose of `forward` in `x`, with the same `fixed` and `params`.
      cpu_forward: `forward` for CPU.
      cpu_transposed: `transposed` for CPU.

    Returns:
      ``forward`` as a differentiable function.
    """
    forth = new_primitive(name, forward, cpu_forward)
    back = new_primitive(f"{name}_transpose", transposed, cpu_transposed)
    for primitive, other in ((forth, back), (back, forth)):
        ad.primitive_jvps[primitive] = functools.partial(_linear_jvp, primitive)
        ad.primitive_transposes[primitive] = functools.partial(_transpose, other)
    return forth.bind


def moves(tangents: Sequence) -> bool:
    """Whether any of these is a tangent, neither None nor zero."""
    return any(t is not None and type(t) is not ad.Zero for t in tangents)


def over_leading_axes(
    function: Implementation, rank: int, mapped: Callable = jax.vmap
) -> Implementation:
    """Maps a function of arrays over what stands before their own axes.

    Args:
      function: ``function(*arrays, **params)``.
      rank: number of axes of its first array.
      mapped: maps a function over the first axis of all of its arguments.
    """

    def call(*arrays: Any, **params: Any) -> Any:
        if arrays[0].ndim == rank:
            return function(*arrays, **params)
        return mapped(functools.partial(call, **params))(*arrays)

    return call


def plain_tangents(
    function: Implementation, primals: tuple, tangents: tuple, **params: Any
) -> Any:
    """The tangents of ``function(*arrays, **params)``, by autodiff."""
    moved = {i: t for i, t in enumerate(tangents) if type(t) is not ad.Zero}
    return jvp_along(functools.partial(function, **params), primals, moved)


def where_undefined(found: Sequence, operands: Sequence) -> list:
    """What a transpose rule returns: gradients of those operands that it is asked for.

    Args:
      found: a gradient for each operand.
      operands: as the rule gets them.
    """
    pairs = zip(found, operands, strict=True)
    return [f if ad.is_undefined_primal(x) else None for f, x in pairs]


def without_unused(used: Sequence[bool], equation: Any) -> tuple:
    """The rule for dead code of a primitive whose parameter `wanted` names its results:
    those that nobody reads are dropped."""
    results = zip(equation.params["wanted"], equation.outvars, used, strict=True)
    kept = {name: variable for name, variable, is_used in results if is_used}
    if not kept:
        return [False] * len(equation.invars), None
    params = {**equation.params, "wanted": tuple(kept)}
    new = equation.replace(outvars=list(kept.values()), params=params)
    return [True] * len(equation.invars), new


def zero_tangent(x: jax.Array) -> Any:
    """What a jvp rule returns for a result that does not move."""
    return ad.Zero(jax.typeof(x).to_tangent_aval())


def zeros_where_undefined(operands: Sequence) -> list:
    """What a transpose rule returns for cotangents that are all zero."""
    return [ad.Zero(x.aval) if ad.is_undefined_primal(x) else None for x in operands]


def _linear_jvp(
    primitive: Primitive, primals: tuple, tangents: tuple, **params: Any
) -> tuple:
    out = primitive.bind(*primals, **params)
    if type(tangents[0]) is ad.Zero:
        return out, zero_tangent(out)
    return out, primitive.bind(tangents[0], *primals[1:], **params)


def _transpose(
    other: Primitive, cotangent: Any, x: Any, *fixed: Any, **params: Any
) -> list:
    if type(cotangent) is ad.Zero:
        return [ad.Zero(x.aval), *[None] * len(fixed)]
    return [other.bind(cotangent, *fixed, **params), *[None] * len(fixed)]
