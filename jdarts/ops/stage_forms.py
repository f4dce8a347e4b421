"""What the primitives of `jdarts.ops.stage` compute, in plain JAX.

All three follow from the stage itself, which has two forms: a depthwise convolution and
a pointwise one after it, and, for TPU, one with their composed kernel.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jdarts.ops.composed import composed, fits
from jdarts.ops.dense import pointwise
from jdarts.ops.depthwise import depthwise_conv
from jdarts.ops.primitive import jvp_along, over_leading_axes
from jdarts.ops.windows import Window

__all__ = [
    "OPTIONAL",
    "Operands",
    "Windows",
    "composed_if_it_fits",
    "definitions",
    "separate",
]

Windows = tuple[Window, ...]
_RANK = 5  # of x
OPTIONAL = ("t", "dt", "dx", "dp", "dd")


@dataclasses.dataclass
class Operands:
    """Where the derivative is taken (x, p, d, t), and along what, or None."""

    x: Any
    p: Any
    d: tuple
    t: Any = None
    dt: Any = None
    dx: Any = None
    dp: Any = None
    dd: tuple | None = None

    def flatten(self) -> tuple[list, tuple[str, ...]]:
        """The arrays in the kernels' order, and the names of the optional ones."""
        arrays, given = [self.x, self.p, *self.d], []
        for name in OPTIONAL:
            value = getattr(self, name)
            if value is not None:
                given.append(name)
                arrays += value if name == "dd" else [value]
        return arrays, tuple(given)

    @classmethod
    def unflatten(cls, arrays: Sequence, given: tuple[str, ...], ops: int):
        queue = list(arrays)
        x, p, d = queue[0], queue[1], tuple(queue[2 : 2 + ops])
        del queue[: 2 + ops]
        optional = {name: queue.pop(0) for name in given if name != "dd"}
        if "dd" in given:
            optional["dd"] = tuple(queue)
        return cls(x, p, d, **optional)

    def primals(self) -> tuple:
        return self.x, self.p, self.d

    def along(self) -> dict[int, Any]:
        """Tangents of `primals` by position, the given ones."""
        tangents = enumerate((self.dx, self.dp, self.dd))
        return {i: tangent for i, tangent in tangents if tangent is not None}


def separate(x: Array, p: Array, d: Sequence[Array], windows: Windows) -> Array:
    """The stage as it is defined."""
    edges, outs = d[0].shape[0], []
    for i, (w, window) in enumerate(zip(d, windows, strict=True)):
        own = x if len(x) == 1 else x[i * edges : (i + 1) * edges]
        outs.append(
            depthwise_conv(
                jax.nn.relu(own), w, stride=window.stride, dilation=window.dilation
            )
        )
    return pointwise(jnp.concatenate(outs) if len(outs) > 1 else outs[0], p)


def composed_if_it_fits(
    x: Array, p: Array, d: Sequence[Array], windows: Windows
) -> Array:
    """The stage with composed kernels, unless they are too wide for it to pay."""
    return (composed if fits(x.shape[-1]) else separate)(x, p, d, windows)


def definitions(form: Callable) -> tuple[Callable, Callable, Callable]:
    """The stage, its derivative and its gradients as functions of `Operands`' arrays.

    Args:
      form: ``z = form(x, p, d, windows)``.
    """

    mapped = functools.partial(over_leading_axes, rank=_RANK)

    @mapped
    def stage(x: Array, p: Array, *d: Array, windows: Windows) -> Array:
        return form(x, p, d, windows)

    @mapped
    def output(*arrays: Array, windows: Windows, given: tuple[str, ...]) -> Array:
        ops = Operands.unflatten(arrays, given, len(windows))
        return jvp_along(
            lambda x, p, d: form(x, p, d, windows), ops.primals(), ops.along()
        )

    @mapped
    def input_(
        *arrays: Array,
        windows: Windows,
        given: tuple[str, ...],
        wanted: tuple[str, ...],
    ) -> list[Array]:
        ops = Operands.unflatten(arrays, given, len(windows))

        def gradients(x: Array, p: Array, d: tuple, t: Array) -> list[Array]:
            found = {}
            if "x" in wanted:
                found["x"] = jax.vjp(lambda x: form(x, p, d, windows), x)[1](t)
            if "w" in wanted:
                gp, gd = jax.vjp(lambda p, d: form(x, p, d, windows), p, d)[1](t)
                found["w"] = [gp, *gd]
            return [g for name in wanted for g in found[name]]

        along = ops.along()
        if not along:
            return gradients(ops.x, ops.p, ops.d, ops.dt)
        if ops.dt is not None:
            along[3] = ops.dt
        return jvp_along(gradients, (*ops.primals(), ops.t), along)

    return stage, output, input_
