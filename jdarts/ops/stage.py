"""One stage of a source's separable ops as one kernel, with its derivatives.

A stage is ReLU, depthwise convolution D, pointwise convolution P:

    z = P (D * relu(x)).

With the ReLU's mask ``m = [x > 0]`` held fixed, as under differentiation, the form

    Q(x, D, P, t) = < t, P (D * m x) >

is linear in each argument, and all derivatives of the stage are derivatives of Q:

* `_output_p`, linear in the tangents ``dx, dP, dD`` together: the derivative of z;
* `_input_p`, linear in ``dt, dx, dP, dD`` together: from ``dt`` alone, the gradients
  in x, P and D for a cotangent ``dt`` of z; with the others, the tangent of those
  gradients at the cotangent t. It is symmetric, being a block of Q's second derivative.

Each is the other's (or its own) transpose, so that two kernels serve first and second
order in both modes. Derivatives of third order and more are those of the plain
definition. Nothing between x and z is kept for the backward pass: on CPU the kernel
convolves again, in the cache, which costs less than reading from memory. On TPU a stage
is one dense convolution (`jdarts.ops.composed`).

Shapes, for S ops with E edges each (row ``s E + e`` of P belongs to edge e of op s):

* ``x``: ``[1 or S E, batch, height, width, channels]``
* ``P``: ``[S E, channels, channels]``
* ``D``: for each op ``[E, kernel, kernel, channels]``
* ``z``, ``t``: ``[S E, batch, out height, out width, channels]``
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad
from jaxtyping import Array, Float

from jdarts.ops import native
from jdarts.ops.primitive import (
    drop_unused,
    new_primitive,
    plain_tangents,
    zero_tangent,
    zeros_where_undefined,
)
from jdarts.ops.stage_forms import (
    OPTIONAL,
    Operands,
    Windows,
    composed_if_it_fits,
    definitions,
    separate,
)
from jdarts.ops.windows import Window

__all__ = ["separable_stage"]


def separable_stage(
    x: Float[Array, "source batch height width channel"],
    p: Float[Array, "row channel channel"],
    d: Sequence[Float[Array, "_edge _ _ channel"]],
    windows: Windows,
) -> Float[Array, "row batch out_height out_width channel"]:
    """ReLU, depthwise convolution, pointwise convolution; see the module for shapes.

    Args:
      x: the source of all rows, or one per row.
      p: the pointwise weights, (in, out).
      d: the depthwise weights of each op.
      windows: each op's window, all of the same stride.
    """
    return _stage_p.bind(x, p, *d, windows=windows)


def _dense(tangents: Sequence, like: Sequence) -> tuple | None:
    """Tangents of the depthwise weights, with zeros filled in; None if all are zero."""
    if all(type(t) is ad.Zero for t in tangents):
        return None
    pairs = zip(tangents, like, strict=True)
    return tuple(jnp.zeros_like(w) if type(t) is ad.Zero else t for t, w in pairs)


def _known(tangent: Any) -> Any:
    return None if type(tangent) is ad.Zero else tangent


_stage_plain, _output_plain, _input_plain = definitions(separate)
_stage_tpu, _output_tpu, _input_tpu = definitions(composed_if_it_fits)


# --- CPU: compiled kernels -----------------------------------------------------------

_BITS = {name: 1 << i for i, name in enumerate(OPTIONAL)}


def _call(
    name: str, out: Any, arrays: Sequence, windows: Windows, **params: Any
) -> Any:
    """Calls a kernel, over any number of leading axes."""
    return native.call_over(
        name,
        out,
        arrays,
        arrays[0].shape[:-5],
        stride=np.int64(windows[0].stride),
        kernels=np.array([w.kernel for w in windows]),
        dilations=np.array([w.dilation for w in windows]),
        **params,
    )


def _given_bits(given: tuple[str, ...]) -> np.int64:
    return np.int64(sum(_BITS[name] for name in given))


def _out_shape(x: Array, p: Array, window: Window) -> jax.ShapeDtypeStruct:
    rows, columns = (window.out_size(size) for size in x.shape[-3:-1])
    shape = (*p.shape[:-2], x.shape[-4], rows, columns, p.shape[-1])
    return jax.ShapeDtypeStruct(shape, x.dtype)


def _stage_cpu(x: Array, p: Array, *d: Array, windows: Windows) -> Array:
    if not native.usable("stage_output", x.dtype):
        return _stage_plain(x, p, *d, windows=windows)
    return _output_cpu(x, p, *d, x, windows=windows, given=("dx",))


def _output_cpu(*arrays: Array, windows: Windows, given: tuple[str, ...]) -> Array:
    if not native.usable("stage_output", arrays[0].dtype):
        return _output_plain(*arrays, windows=windows, given=given)
    out = _out_shape(arrays[0], arrays[1], windows[0])
    return _call("stage_output", out, arrays, windows, given=_given_bits(given))


def _input_cpu(
    *arrays: Array, windows: Windows, given: tuple[str, ...], wanted: tuple[str, ...]
) -> list[Array]:
    if not native.usable("stage_input", arrays[0].dtype):
        return _input_plain(*arrays, windows=windows, given=given, wanted=wanted)
    like = arrays[:1] * ("x" in wanted)
    like += arrays[1 : 2 + len(windows)] * ("w" in wanted)
    return list(
        _call(
            "stage_input",
            [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in like],
            arrays,
            windows,
            given=_given_bits(given),
            to_source="x" in wanted,
            to_weights="w" in wanted,
        )
    )


# --- the primitives and their rules --------------------------------------------------

_stage_p = new_primitive("separable_stage", _stage_plain, _stage_cpu, tpu=_stage_tpu)
_output_p = new_primitive(
    "separable_stage_output", _output_plain, _output_cpu, tpu=_output_tpu
)
_input_p = new_primitive(
    "separable_stage_input", _input_plain, _input_cpu, tpu=_input_tpu, multiple=True
)


def _output(ops: Operands, windows: Windows) -> Array:
    arrays, given = ops.flatten()
    return _output_p.bind(*arrays, windows=windows, given=given)


def _input(ops: Operands, windows: Windows, wanted: tuple[str, ...]) -> list[Array]:
    arrays, given = ops.flatten()
    return _input_p.bind(*arrays, windows=windows, given=given, wanted=wanted)


def _stage_jvp(primals: tuple, tangents: tuple, *, windows: Windows) -> tuple:
    x, p, *d = primals
    z = _stage_p.bind(*primals, windows=windows)
    dx, dp, *dd = tangents
    ops = Operands(x, p, tuple(d), dx=_known(dx), dp=_known(dp), dd=_dense(dd, d))
    return z, _output(ops, windows) if ops.along() else zero_tangent(z)


def _output_transpose(
    ct: Any, *arrays: Any, windows: Windows, given: tuple[str, ...]
) -> list:
    ops = Operands.unflatten(arrays, given, len(windows))
    if type(ct) is ad.Zero:
        return zeros_where_undefined(arrays)
    wanted = ("x",) * (ops.dx is not None)
    wanted += ("w",) * (ops.dp is not None or ops.dd is not None)
    here = Operands(*ops.primals(), dt=ct)
    return _cotangents(ops, _input(here, windows, wanted), wanted)


def _cotangents(
    ops: Operands, found: list[Array], wanted: tuple[str, ...], dt: Any = None
) -> list:
    """Gradients as cotangents of the operands: of those that were given, in order."""
    found = list(found)
    x = found.pop(0) if "x" in wanted else None
    p, d = (found[0], tuple(found[1:])) if "w" in wanted else (None, None)
    fixed = 2 + len(ops.d) + (ops.t is not None)
    values: list[Any] = [None] * fixed
    for tangent, value in ((ops.dt, dt), (ops.dx, x), (ops.dp, p)):
        if tangent is not None:
            values.append(value)
    return values + list(d) if ops.dd is not None and d is not None else values


def _input_jvp(
    primals: tuple,
    tangents: tuple,
    *,
    windows: Windows,
    given: tuple[str, ...],
    wanted: tuple[str, ...],
) -> tuple:
    params = {"windows": windows, "given": given, "wanted": wanted}
    out = _input_p.bind(*primals, **params)
    if given != ("dt",):  # of third order
        return out, plain_tangents(_input_plain, primals, tangents, **params)
    at = Operands.unflatten(primals, given, len(windows))
    moved = Operands.unflatten(tangents, given, len(windows))
    ops = Operands(
        *at.primals(),
        dt=_known(moved.dt),
        dx=_known(moved.x),
        dp=_known(moved.p),
        dd=_dense(moved.d, at.d),
    )
    if ops.along():
        ops.t = at.dt
    elif ops.dt is None:
        return out, [zero_tangent(o) for o in out]
    return out, _input(ops, windows, wanted)


def _input_transpose(
    cts: Sequence,
    *arrays: Any,
    windows: Windows,
    given: tuple[str, ...],
    wanted: tuple[str, ...],
) -> list:
    ops = Operands.unflatten(arrays, given, len(windows))
    queue = list(cts)
    along_x = _known(queue.pop(0)) if "x" in wanted else None
    along_p, along_d = None, None
    if "w" in wanted:
        along_p, along_d = _known(queue[0]), _dense(queue[1:], ops.d)
    here = Operands(*ops.primals(), dx=along_x, dp=along_p, dd=along_d)
    if not here.along():
        return zeros_where_undefined(arrays)
    dt = None if ops.dt is None else _output(here, windows)
    to = ("x",) * (ops.dx is not None)
    to += ("w",) * (ops.dp is not None or ops.dd is not None)
    if not to:
        return _cotangents(ops, [], to, dt)
    here.t = ops.t
    return _cotangents(ops, _input(here, windows, to), to, dt)


def _input_without_unused(used: Sequence[bool], equation: Any) -> tuple:
    """Drops results that nobody reads, and operands that only they needed.

    In the product of the architecture's and the weights' second derivative those in P
    and D are a third of the work.
    """
    params = dict(equation.params)
    windows, given, wanted = (params[k] for k in ("windows", "given", "wanted"))
    parts = {"x": 1, "w": 1 + len(windows)}
    kept, results, queue = [], [], list(zip(used, equation.outvars, strict=True))
    for name in wanted:
        part, queue = queue[: parts[name]], queue[parts[name] :]
        if any(is_used for is_used, _ in part):
            kept.append(name)
            results += [variable for _, variable in part]
    if not kept:
        return [False] * len(equation.invars), None
    operands = Operands.unflatten(equation.invars, given, len(windows))
    if "w" not in kept and (operands.dt is not None or len(operands.along()) > 1):
        operands.dx = None  # Q is linear in x: its gradient there does not depend on it
        operands.t = operands.t if operands.along() else None
    arrays, given = operands.flatten()
    needed = {id(array) for array in arrays}
    params |= {"given": given, "wanted": tuple(kept)}
    new = equation.replace(invars=arrays, outvars=results, params=params)
    return [id(v) in needed for v in equation.invars], new


def _output_jvp(primals: tuple, tangents: tuple, **params: Any) -> tuple:
    out = _output_p.bind(*primals, **params)
    return out, plain_tangents(_output_plain, primals, tangents, **params)


ad.primitive_jvps[_stage_p] = _stage_jvp
ad.primitive_jvps[_output_p] = _output_jvp
ad.primitive_jvps[_input_p] = _input_jvp
ad.primitive_transposes[_output_p] = _output_transpose
ad.primitive_transposes[_input_p] = _input_transpose
drop_unused(_input_p, _input_without_unused)
