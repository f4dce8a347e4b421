"""Drop path: whole edges are left out at random."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["path_masks"]


def path_masks(
    key: jax.Array, rate: Any, shape: tuple[int, int, int]
) -> Float[Array, "cell connection batch"]:
    """Drop path: 0 with probability `rate`, else ``1 / (1 - rate)``, for each image.

    Larsson et al., 'FractalNet', ICLR 2017, in the form of the DARTS code: what is kept
    is scaled, so that a connection's expected value stays.

    Args:
      key: a typed random key.
      rate: in [0, 1); may be traced.
      shape: ``(cells, connections, batch)``.
    """
    keep = 1.0 - jnp.asarray(rate, jnp.result_type(float))
    return jax.random.bernoulli(key, keep, shape) / keep
