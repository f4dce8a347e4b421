"""Initial values: declared by each module, drawn for the whole network at once.

Compiling one random generator per weight tensor takes longer than compiling the
network (a DARTS supernet has 511). So a module only declares the range of each weight,
as a Flax metadata box, and `draw` cuts all weights from one random vector.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from flax.core import meta

from jdarts.types import PyTree

__all__ = ["Range", "constant", "draw", "uniform_fan_in"]


class Range(struct.PyTreeNode, meta.AxisMetadata):
    """A weight's shape with the range that its initial values are drawn from."""

    value: Any
    low: float = struct.field(pytree_node=False)
    high: float = struct.field(pytree_node=False)

    def unbox(self) -> Any:
        return self.value

    def replace_boxed(self, val: Any) -> "Range":
        return self.replace(value=val)

    def add_axis(self, index: int, params: dict[Any, Any]) -> "Range":
        return self

    def remove_axis(self, index: int, params: dict[Any, Any]) -> "Range":
        return self


def _initializer(low: float, high: float) -> Callable[..., Any]:
    def init(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Range:
        return Range(jnp.zeros(shape, dtype), low, high)

    return init


def uniform_fan_in(fan_in: int) -> Callable[..., Any]:
    """Uniform in ``+-1 / sqrt(fan_in)``: PyTorch's default for layers of all kinds,
    since 1.0."""
    return _initializer(-(fan_in**-0.5), fan_in**-0.5)


def constant(value: float) -> Callable[..., Any]:
    """The same value everywhere."""
    return _initializer(value, value)


def draw(key: jax.Array, boxed: PyTree) -> PyTree:
    """Draws every leaf of an abstract tree of `Range` boxes.

    Args:
      key: a typed random key.
      boxed: the tree, its arrays possibly abstract.

    Returns:
      The tree of arrays, without boxes.
    """
    boxes, structure = jax.tree.flatten(boxed, is_leaf=lambda x: isinstance(x, Range))
    sizes = [int(np.prod(box.value.shape)) for box in boxes]
    random = jax.random.uniform(key, (sum(sizes),), boxes[0].value.dtype)
    if not isinstance(random, jax.core.Tracer):
        random = np.asarray(random)  # cut on the host: nothing to compile
    leaves, start = [], 0
    for box, size in zip(boxes, sizes, strict=True):
        part = random[start : start + size].reshape(box.value.shape)
        value = box.low + (box.high - box.low) * part
        leaves.append(jnp.asarray(value, box.value.dtype))  # bfloat16 would widen
        start += size
    return jax.tree.unflatten(structure, leaves)
