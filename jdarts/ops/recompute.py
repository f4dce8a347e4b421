"""Functions whose values are cheap to compute and large to keep."""

from collections.abc import Callable
from typing import Any

import jax

__all__ = ["recomputed"]


def recomputed(fun: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """`fun`, keeping nothing but its arguments for its derivatives.

    `jax.checkpoint` alone holds for the gradient, but when that is linearised again (a
    product with a second derivative) the pass forward is an ordinary one, and all that
    its derivative reads is kept. Here each pass has its own checkpoint.

    Args:
      fun: differentiable; of arrays, all of which may be differentiated.

    Returns:
      The same function for reverse mode, and for all modes over that.
    """
    once = jax.checkpoint(fun)

    @jax.checkpoint
    def pull(arguments: tuple, cotangent: Any) -> tuple:
        return jax.vjp(fun, *arguments)[1](cotangent)

    @jax.custom_vjp
    def kept(*arguments: Any) -> jax.Array:
        return once(*arguments)

    kept.defvjp(lambda *arguments: (once(*arguments), arguments), pull)
    return kept
