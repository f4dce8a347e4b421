"""The sharpness of a search's minimum, measured between epochs."""

from collections.abc import Callable

import jax
from jax.sharding import Mesh

from jdarts.curvature import dominant_eigenvalue
from jdarts.data import AugmentSpec, normalise
from jdarts.errors import UserError
from jdarts.loops.chunk import DeviceData, default_dtype
from jdarts.methods import SearchMethod, SearchState
from jdarts.sharding import shard_batch
from jdarts.types import Batch

__all__ = ["make_curvature"]

_PART = 3  # the part of the run's key that is for it; 0 to 2: see `make_chunk`


def make_curvature(
    method: SearchMethod,
    spec: AugmentSpec,
    mesh: Mesh | None,
    *,
    batch_size: int,
    iterations: int,
) -> Callable[[jax.Array, SearchState, DeviceData], jax.Array]:
    """The largest eigenvalue of the Hessian of the validation loss in alpha.

    At the weights, and beta, as they are; on the first batch of the validation half,
    not augmented, by its own statistics; always from the same first direction. Zela et
    al. take the epoch's last batch, augmented and with dropped paths, and add alpha's
    weight decay; one batch for all epochs has less noise.

    Args:
      method: the search method.
      spec: for normalisation.
      mesh: the devices that the batch is divided over; None: it stays whole.
      batch_size: images in the batch.
      iterations: products with the Hessian.

    Returns:
      ``curvature(key, state, data) -> eigenvalue``, to be compiled.

    Raises:
      UserError: if the method learns its alpha by no gradient.
    """
    mean_loss = method.mean_loss
    if mean_loss is None:
        raise UserError(
            "--curvature.every: this --method learns the architecture by no gradient; "
            "expected 0, or another method"
        )
    loss: Callable[..., jax.Array] = mean_loss

    def curvature(key: jax.Array, state: SearchState, data: DeviceData) -> jax.Array:
        indices = data.valid[:batch_size]
        images = normalise(data.images[indices], spec, default_dtype())
        batch = shard_batch(Batch(images, data.labels[indices]), mesh)
        return dominant_eigenvalue(
            lambda alpha: loss(state, alpha, batch),
            state.arch.alpha,
            jax.random.fold_in(key, _PART),
            iterations=iterations,
        )

    return curvature
