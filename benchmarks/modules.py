"""Single ops and cells, and their derivatives, as functions to compile."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from steps import SIDE

from jdarts.nets.cell import MixedCell
from jdarts.ops import make_op
from jdarts.ops.init import draw
from jdarts.spaces import CellSpec

__all__ = ["ORDERS", "Case", "cell_case", "op_case"]


class Case(NamedTuple):
    """A function of one tree of arguments, and such a tree."""

    function: Callable[[Any], Any]
    arguments: Any


def op_case(
    name: str,
    *,
    edges: int,
    channels: int,
    stride: int,
    batch: int,
    side: int = SIDE,
) -> Case:
    """An op of the OPS table on all edges that leave one source.

    Args:
      name: a row of OPS that computes something.
      edges: number of edges.
      channels: width of the source.
      stride: of the edges.
      batch: number of images.
      side: height and width of the source.
    """
    op = make_op(name, edges=edges, channels=channels, stride=stride)
    assert op is not None, name
    x = _normal(0, (batch, side, side, channels))
    w = _weights(op, x, train=False)
    return Case(lambda both: op.apply({"params": both[0]}, both[1], train=True), (w, x))


def cell_case(spec: CellSpec, *, channels: int, widths: list[int], batch: int) -> Case:
    """A mixed cell.

    Args:
      spec: the cell type.
      channels: width of its nodes.
      widths: of its two inputs.
      batch: number of images.
    """
    inputs = tuple(_normal(i, (batch, SIDE, SIDE, c)) for i, c in enumerate(widths))
    columns = len(spec.primitives)
    mix = jnp.full((len(spec.edges), columns), 1 / columns)
    w = _weights(MixedCell(spec, channels, False, False), inputs, mix)
    cell = MixedCell(spec, channels, False, True)

    def function(arguments: Any) -> Any:
        w, inputs, mix = arguments
        return cell.apply({"params": w}, inputs, mix)

    return Case(function, (w, inputs, mix))


def _weights(module: Any, *inputs: Any, **options: Any) -> Any:
    init = lambda *x: module.init(jax.random.key(0), *x, **options)  # noqa: E731
    boxed = jax.eval_shape(init, *inputs)
    return draw(jax.random.key(1), boxed["params"]) if "params" in boxed else {}


def _normal(seed: int, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def _like(seed: int, tree: Any) -> Any:
    return jax.tree.map(lambda x: _normal(seed, x.shape), tree)


def _forward(case: Case) -> Case:
    return case


def _gradient(case: Case) -> Case:
    """The vector-Jacobian product with a fixed vector, in all arguments."""
    vector = _like(7, jax.eval_shape(case.function, case.arguments))

    def gradient(both: Any) -> Any:
        arguments, vector = both
        return jax.vjp(case.function, arguments)[1](vector)[0]

    return Case(gradient, (case.arguments, vector))


def _second_order(case: Case) -> Case:
    """The derivative of the gradient along a fixed direction."""
    gradient, (arguments, vector) = _gradient(case)

    def product(three: Any) -> Any:
        arguments, vector, along = three
        return jax.jvp(lambda a: gradient((a, vector)), (arguments,), (along,))[1]

    return Case(product, (arguments, vector, _like(8, arguments)))


ORDERS: dict[str, Callable[[Case], Case]] = {
    "forward": _forward,
    "gradient": _gradient,
    "second order": _second_order,
}
"""What is computed of a case; the PyTorch worker has the same names."""
