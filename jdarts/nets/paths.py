"""What is left out of a search network at random: whole edges, parts of skips."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["DropRates", "drop_elements", "path_masks"]


class DropRates(NamedTuple):
    """Rates of a step, in [0, 1), which may be traced; None: nothing is dropped.

    Attributes:
      path: of drop path: whole edges, see `path_masks`.
      skip: of the dropout after identities, see `drop_elements`.
    """

    path: Any = None
    skip: Any = None


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


def drop_elements(
    key: jax.Array, rate: Any, x: Float[Array, "1 ..."], edges: int
) -> Float[Array, "edge ..."]:
    """Dropout of single elements, drawn for each edge: 0 with probability `rate`, else
    the element times ``1 / (1 - rate)``.

    After identities it keeps a search from preferring them early (Chen et al.,
    'P-DARTS', ICCV 2019, section 3.3).

    Args:
      key: a typed random key.
      rate: in [0, 1); may be traced.
      x: what all edges read.
      edges: how many.
    """
    keep = 1.0 - jnp.asarray(rate, jnp.result_type(float))
    kept = jax.random.bernoulli(key, keep, (edges, *x.shape[1:]))
    return jnp.where(kept, x / keep.astype(x.dtype), 0)
