"""`jit` with the compiler options that jdarts' kernels are written for."""

from collections.abc import Callable
from typing import Any

import jax

__all__ = ["compiler_options", "jit"]

# XLA:CPU normally drops optimization barriers before it fuses, which makes them
# useless as fences (`jdarts.ops.fence`). This pass is the one that drops them.
_CPU_OPTIONS = {"xla_disable_hlo_passes": "cse_barrier_expander"}


def compiler_options(platform: str | None = None) -> dict[str, Any]:
    """XLA options for a platform (``"cpu"``, ``"gpu"``, ``"tpu"``).

    Args:
      platform: the platform; by default that of jax's default backend.
    """
    return dict(_CPU_OPTIONS) if (platform or jax.default_backend()) == "cpu" else {}


def jit(fun: Callable[..., Any], **options: Any) -> Any:
    """`jax.jit` with `compiler_options` of the default backend.

    Results are the same without it; on CPU a search step is several times slower then.

    Args:
      fun: the function to compile; only for the outermost one, not inside another jit.
      **options: passed on to `jax.jit`.
    """
    return jax.jit(fun, compiler_options=compiler_options(), **options)
