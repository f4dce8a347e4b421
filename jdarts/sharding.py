"""One code path from one device to many: the batch is divided, all else is everywhere.

Under `jit` a batch sharded over the mesh is still one batch: means, batch statistics
and gradients are those of the whole, and the compiler adds the communication.
"""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jdarts.errors import UserError
from jdarts.types import PyTree

__all__ = [
    "check_divides",
    "make_dividing_mesh",
    "make_mesh",
    "over_batch",
    "replicated",
    "shard_batch",
]

_AXIS = "data"


def make_mesh(devices: list[jax.Device] | None = None) -> Mesh:
    """A one-dimensional mesh over the given devices; by default over all."""
    return Mesh(np.asarray(devices or jax.devices()), (_AXIS,))


def make_dividing_mesh(
    count: int, axis: str, devices: list[jax.Device] | None = None
) -> Mesh:
    """A mesh over the largest number of devices that divides `count`.

    Args:
      count: length of the array axis to divide, >= 1.
      axis: the mesh axis' name.
      devices: the first of these are taken; by default of all.
    """
    found = devices or jax.devices()
    size = max(n for n in range(1, len(found) + 1) if count % n == 0)
    return Mesh(np.asarray(found[:size]), (axis,))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def over_batch(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Divided over the devices along one axis."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, _AXIS))


def shard_batch(batch: PyTree, mesh: Mesh | None, axis: int = 0) -> PyTree:
    """Inside jit: divides every array of a batch along `axis`; without a mesh leaves it
    as it is."""
    if mesh is None:
        return batch
    return jax.lax.with_sharding_constraint(batch, over_batch(mesh, axis))


def check_divides(batch_size: int, mesh: Mesh) -> None:
    """Raises a UserError unless the devices divide the batch."""
    if batch_size % mesh.size:
        raise UserError(
            f"--batch-size: {batch_size} images cannot be divided over {mesh.size} "
            f"devices; expected a multiple of {mesh.size}"
        )
