"""What a traced function costs: multiply-adds, and bytes kept for its derivative.

Both are counted on the program as traced, so that they are the same on every platform
and hold for every op without its own row.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from jdarts.types import PyTree

__all__ = ["kept_bytes", "multiply_adds"]


def _by_weight(weights: int | None, positions: slice) -> Callable[[JaxprEqn], int]:
    """Of a convolution: each weight is used once at each position of the result.

    Args:
      weights: the number of the operand that holds the weights; None: all others
        than the first.
      positions: the axes of the result that are batch, height and width.
    """
    chosen = slice(1, None) if weights is None else slice(weights, weights + 1)

    def count(eqn: JaxprEqn) -> int:
        size = sum(_size(operand) for operand in eqn.invars[chosen])
        return size * math.prod(_shape(eqn.outvars[0])[positions])

    return count


def _dense(eqn: JaxprEqn) -> int:
    """``conv_general_dilated``, in any layout."""
    layout = eqn.params["dimension_numbers"].out_spec  # batch, feature, rows, columns
    out = _shape(eqn.outvars[0])
    return _size(eqn.invars[1]) * math.prod(out) // out[layout[1]]


def _product(eqn: JaxprEqn) -> int:
    """``dot_general``."""
    (contracted, _), _ = eqn.params["dimension_numbers"]
    left = _shape(eqn.invars[0])
    return _size(eqn.outvars[0]) * math.prod(left[axis] for axis in contracted)


def _blend(eqn: JaxprEqn) -> int:
    """``blend``: its first operands are the matrices."""
    matrices = eqn.invars[: len(eqn.params["inputs"])]
    return sum(map(_size, matrices)) * _shape(eqn.outvars[0])[-1]


def _shape(operand: Any) -> tuple[int, ...]:
    return operand.aval.shape


def _size(operand: Any) -> int:
    return operand.aval.size


_RULES: dict[str, Callable[[JaxprEqn], int]] = {
    "conv_general_dilated": _dense,
    "dot_general": _product,
    "blend": _blend,
    "relu_product": _by_weight(2, slice(0, 1)),
    "dense_conv": _by_weight(1, slice(-4, -1)),
    "depthwise_conv": _by_weight(1, slice(1, 4)),
    "separable_stage": _by_weight(None, slice(1, 4)),
}


def multiply_adds(fun: Callable[..., Any], *args: PyTree) -> int:
    """Multiply-adds of all convolutions and matrix products in a call.

    Normalisers, activations, pools and sums do not count. Published figures are 3 to
    8 % higher: DARTS_V2 on ImageNet 574 M (here 530 M), P-DARTS 557 M (543 M), PC-DARTS
    586 M (571 M); how the papers counted is not known.

    Args:
      fun: the function; it is traced only.
      *args: arrays, or ``jax.ShapeDtypeStruct``.
    """
    return _count(jax.make_jaxpr(fun)(*args).jaxpr)


def _count(jaxpr: Jaxpr) -> int:
    total = 0
    for eqn in jaxpr.eqns:
        name = eqn.primitive.name
        if name in _RULES:
            total += _RULES[name](eqn)
        else:
            times = eqn.params["length"] if name == "scan" else 1
            total += times * sum(map(_count, _inner(eqn)))
    return total


def _inner(eqn: JaxprEqn) -> Iterator[Jaxpr]:
    """The programs inside an equation: of jit, of a loop, of custom derivatives."""
    for value in eqn.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item


# --- what the derivative keeps --------------------------------------------------------

# These give their operand in another form, not a new value.
_SAME = {
    "broadcast_in_dim",
    "copy",
    "expand_dims",
    "fence",
    "reshape",
    "squeeze",
    "stop_gradient",
}


def kept_bytes(fun: Callable[..., PyTree], *args: PyTree) -> int:
    """Bytes of the values made in `fun` that reverse mode keeps.

    All values from the forward pass that the derivative in `args` reads, each once,
    however often it is read. `args` themselves do not count (they were made elsewhere),
    nor do constants. Counted before XLA, which may keep less by computing again.

    Args:
      fun: ``fun(*args) -> results``; it is traced only.
      *args: arrays, or ``jax.ShapeDtypeStruct``.
    """

    def kept(*args: PyTree) -> PyTree:
        return jax.vjp(fun, *args)[1]

    jaxpr = jax.make_jaxpr(kept)(*args).jaxpr
    makers = {out: eqn for eqn in jaxpr.eqns for out in eqn.outvars}
    roots = {_root(out, makers) for out in jaxpr.outvars}
    made = [root.aval for root in roots if root in makers]
    return sum(aval.size * aval.dtype.itemsize for aval in made)


def _root(variable: Any, makers: dict[Any, JaxprEqn]) -> Any:
    """The variable that this one is only another form of; None for a constant."""
    while not isinstance(variable, Literal):
        maker = makers.get(variable)
        if maker is None or maker.primitive.name not in _SAME:
            return variable
        variable = maker.invars[0]
    return None
