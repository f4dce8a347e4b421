"""Fences: where XLA:CPU must finish a value before anything reads it.

XLA:CPU fuses the producer of a value into every one of its readers. A depthwise
convolution by shifts reads its input once per tap, so the producer would be evaluated
9 or 25 times. A fence stops that: on CPU it lowers to an ``optimization_barrier``
that stays in the program until code is generated (see `jdarts.compile`); on every other
platform it lowers to nothing.
"""

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

__all__ = ["fence"]

_fence_p = Primitive("fence")
_fence_p.def_impl(lambda x: x)
_fence_p.def_abstract_eval(lambda x: x)


def fence(x: jax.Array) -> jax.Array:
    """The identity; `x` is materialised once, here. Fences its derivatives as well."""
    return _fence_p.bind(x)


mlir.register_lowering(_fence_p, mlir.lower_fun(lambda x: x, multiple_results=False))
mlir.register_lowering(
    _fence_p,
    mlir.lower_fun(jax.lax.optimization_barrier, multiple_results=False),
    platform="cpu",
)
ad.deflinear2(_fence_p, lambda cotangent, _: [fence(cotangent)])
batching.defvectorized(_fence_p)
