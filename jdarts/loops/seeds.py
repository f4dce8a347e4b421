"""One seed, or several at once: an axis of the arrays, divided over the devices.

A search is written for one seed. Several seeds are the same functions under `jax.vmap`,
each device with its own seeds; what the seeds do not have for themselves (the
images) is shared.
"""

from collections.abc import Callable
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jdarts import sharding
from jdarts.types import PyTree

__all__ = ["SeedAxis", "seed_axis"]

_AXIS = "seed"


class SeedAxis(NamedTuple):
    """Where the seeds of a run are.

    Attributes:
      mesh: the devices in use.
      batch_mesh: the devices that each batch is divided over; None if each device has
        whole batches, those of its own seeds.
      shared: the placement of what all seeds share: whole on every device.
      own: the placement of what each seed has for itself.
      stack: a list of trees, one a seed, to one tree.
      each: the reverse; the trees are on the host.
      map: ``map(fun, owned)``: from a function of one seed to that of all. `owned` is a
        prefix of the arguments' tree: True where each seed has its own. Results are
        each seed's own.
    """

    mesh: Mesh
    batch_mesh: Mesh | None
    shared: NamedSharding
    own: NamedSharding
    stack: Callable[[list[PyTree]], PyTree]
    each: Callable[[PyTree], list[PyTree]]
    map: Callable[[Callable[..., Any], PyTree], Callable[..., Any]]

    def number(self, n: int) -> jax.Array:
        """An int32 that the compiled functions of all seeds read."""
        return jax.device_put(np.int32(n), self.shared)


def seed_axis(
    count: int, batch_size: int, devices: list[jax.Device] | None = None
) -> SeedAxis:
    """Places the seeds on the devices.

    One seed has all devices, which divide its batches. Several seeds are divided over
    the largest number of devices that divides their number.

    Args:
      count: number of seeds, >= 1.
      batch_size: images in a batch.
      devices: at most these; by default all.

    Raises:
      UserError: if there is one seed and the devices do not divide the batch.
    """
    if count > 1:
        return _many(count, sharding.make_dividing_mesh(count, _AXIS, devices))
    mesh = sharding.make_mesh(devices)
    sharding.check_divides(batch_size, mesh)
    return _one(mesh)


def _one(mesh: Mesh) -> SeedAxis:
    """No axis at all."""
    everywhere = sharding.replicated(mesh)
    return SeedAxis(
        mesh=mesh,
        batch_mesh=mesh,
        shared=everywhere,
        own=everywhere,
        stack=lambda trees: trees[0],
        each=lambda tree: [jax.device_get(tree)],
        map=lambda fun, owned: fun,
    )


def _many(count: int, mesh: Mesh) -> SeedAxis:
    """The leading axis."""

    def stack(trees: list[PyTree]) -> PyTree:
        # On the host: every shape would be one more program to compile.
        return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)

    def each(tree: PyTree) -> list[PyTree]:
        host = jax.device_get(tree)
        return [jax.tree.map(itemgetter(i), host) for i in range(count)]

    def over_seeds(fun: Callable[..., Any], owned: PyTree) -> Callable[..., Any]:
        axes = jax.tree.map(lambda own: 0 if own else None, owned)
        specs = jax.tree.map(
            lambda own: PartitionSpec(_AXIS) if own else PartitionSpec(), owned
        )
        # By hand rather than by sharding propagation: no device ever needs another,
        # and XLA would have to find that out for each of thousands of operations.
        return jax.shard_map(
            jax.vmap(fun, in_axes=axes),
            mesh=mesh,
            in_specs=specs,
            out_specs=PartitionSpec(_AXIS),
            check_vma=False,
        )

    return SeedAxis(
        mesh=mesh,
        batch_mesh=None,
        shared=sharding.replicated(mesh),
        own=NamedSharding(mesh, PartitionSpec(_AXIS)),
        stack=stack,
        each=each,
        map=over_seeds,
    )
