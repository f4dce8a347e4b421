"""The curvature of a loss by exact products with its Hessian: Lanczos' method."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from jdarts.errors import UserError
from jdarts.types import PyTree

__all__ = ["dominant_eigenvalue"]


def dominant_eigenvalue(
    loss: Callable[[PyTree], jax.Array],
    point: PyTree,
    key: jax.Array,
    *,
    iterations: int = 20,
) -> jax.Array:
    """The largest eigenvalue of the Hessian of a loss.

    Of the validation loss in alpha it tells how sharp the minimum is that a search
    went to: cells found where it has grown do badly (Zela et al., 'RobustDARTS', ICLR
    2020, section 4). Lanczos' method: the Hessian, restricted to the span of v, Hv,
    H^2 v, ..., is tridiagonal, and its largest eigenvalue approaches the Hessian's from
    below; with as many iterations as there are variables it is reached.

    Args:
      loss: a scalar function of a tree, twice differentiable.
      point: where; at least one variable.
      key: of the first direction v.
      iterations: products with the Hessian, >= 1.

    Raises:
      UserError: for fewer than one iteration.
    """
    if iterations < 1:
        raise UserError(f"iterations: {iterations}; expected at least 1")
    flat, unflatten = ravel_pytree(point)
    count = min(iterations, flat.size)
    gradient = jax.grad(lambda x: loss(unflatten(x)))
    _, hessian = jax.linearize(gradient, flat)
    start = jax.random.normal(key, flat.shape, flat.dtype)
    basis = jnp.zeros((count, flat.size), flat.dtype)
    tiny = jnp.finfo(flat.dtype).tiny

    def body(i: jax.Array, carry: tuple) -> tuple:
        basis, v, diagonal, beside = carry
        basis = basis.at[i].set(v)
        product = hessian(v)
        diagonal = diagonal.at[i].set(v @ product)
        for _ in range(2):  # once leaves rounding errors of the size of what is left
            product = product - basis.T @ (basis @ product)
        length = jnp.linalg.norm(product)
        # An invariant subspace: what would come next is rounding.
        found = length > 1e3 * jnp.finfo(flat.dtype).eps * jnp.abs(diagonal).max()
        beside = beside.at[i].set(jnp.where(found, length, 0))
        v = jnp.where(found, product / jnp.maximum(length, tiny), 0)
        return basis, v, diagonal, beside

    zeros = jnp.zeros(count, flat.dtype)
    first = (basis, start / jnp.linalg.norm(start), zeros, zeros)
    basis, _, diagonal, beside = lax.fori_loop(0, count, body, first)
    # After an invariant subspace rows are 0: they must not give an eigenvalue 0.
    used = jnp.any(basis != 0, axis=1)
    diagonal = jnp.where(used, diagonal, diagonal[0])
    tridiagonal = (
        jnp.diag(diagonal) + jnp.diag(beside[:-1], 1) + jnp.diag(beside[:-1], -1)
    )
    return jnp.linalg.eigvalsh(tridiagonal)[-1]
