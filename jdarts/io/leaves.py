"""What the leaves of a pytree are: the record that a checkpoint is checked against."""

import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["Leaf", "describe", "difference", "pack", "pack_target", "unpack"]


class Leaf(NamedTuple):
    """One leaf of a pytree.

    Attributes:
      path: where it is, dotted ("weights.0.kernel").
      shape: its shape; ``()`` for a Python number.
      dtype: the name of its data type, or of a Python number's type.
      crc: checksum of its bytes; None where they are unknown or not all on this host.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    crc: int | None = None

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


def describe(tree: Any, checksums: bool = True) -> list[Leaf]:
    """The leaves of a pytree, in its order.

    Args:
      tree: arrays, random keys, Python numbers or ``jax.ShapeDtypeStruct``.
      checksums: whether to fetch the values; impossible for ShapeDtypeStruct.
    """
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [
        Leaf(
            jax.tree_util.keystr(path, simple=True, separator="."),
            tuple(getattr(leaf, "shape", ())),
            str(getattr(leaf, "dtype", type(leaf).__name__)),
            _checksum(leaf) if checksums else None,
        )
        for path, leaf in paths
    ]


def difference(stored: list[Leaf], expected: list[Leaf]) -> str | None:
    """In words the first leaf that two trees do not share; None if they fit."""
    there = {leaf.path: leaf for leaf in stored}
    for leaf in expected:
        found = there.pop(leaf.path, None)
        if found is None:
            return f"it has no {leaf.path}, expected {leaf}"
        if (found.shape, found.dtype) != (leaf.shape, leaf.dtype):
            return f"its {leaf.path} is {found}, expected {leaf}"
    extra = next(iter(there.values()), None)
    return None if extra is None else f"it has {extra.path} ({extra}), expected none"


def pack(tree: Any) -> dict[str, Any]:
    """The leaves as Orbax takes them: by number, without those of size zero."""
    leaves = enumerate(jax.tree.leaves(tree))
    return {
        str(i): np.asarray(leaf) if isinstance(leaf, np.generic) else leaf
        for i, leaf in leaves
        if np.size(leaf)
    }


def pack_target(target: Any, stored: list[Leaf]) -> dict[str, Any]:
    """What to ask Orbax for: `pack` with shapes and shardings instead of arrays.

    Args:
      target: a tree that fits `stored`; see `difference`.
      stored: the leaves of the tree that was packed.
    """
    numbers = {leaf.path: str(i) for i, leaf in enumerate(stored)}
    paths = [leaf.path for leaf in describe(target, checksums=False)]
    leaves = jax.tree.leaves(target)
    return {
        numbers[path]: _abstract(leaf)
        for path, leaf in zip(paths, leaves, strict=True)
        if np.size(leaf)
    }


def unpack(packed: dict[str, Any], target: Any, stored: list[Leaf]) -> Any:
    """The tree of the target's type that holds what Orbax read."""
    numbers = {leaf.path: str(i) for i, leaf in enumerate(stored)}
    paths = [leaf.path for leaf in describe(target, checksums=False)]
    leaves, tree = jax.tree.flatten(target)
    read = [
        _like(packed[numbers[path]], leaf) if np.size(leaf) else _empty(leaf)
        for path, leaf in zip(paths, leaves, strict=True)
    ]
    return jax.tree.unflatten(tree, read)


def _abstract(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=_sharding(leaf))
    return np.asarray(leaf) if isinstance(leaf, np.generic) else leaf


def _sharding(leaf: Any) -> jax.sharding.Sharding:
    return leaf.sharding or jax.sharding.SingleDeviceSharding(jax.devices()[0])


def _like(value: Any, leaf: Any) -> Any:
    return leaf.dtype.type(value) if isinstance(leaf, np.generic) else value


def _empty(leaf: Any) -> Any:
    """An array of size zero holds nothing that could have been lost."""
    zeros = np.zeros(leaf.shape, leaf.dtype)
    return (
        zeros
        if isinstance(leaf, np.ndarray)
        else jax.device_put(zeros, _sharding(leaf))
    )


def _checksum(leaf: Any) -> int | None:
    if isinstance(leaf, jax.Array):
        if not leaf.is_fully_addressable:
            return None
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
    if not hasattr(leaf, "dtype"):
        return zlib.crc32(repr(leaf).encode())
    flat = np.ascontiguousarray(jax.device_get(leaf)).reshape(-1)
    return zlib.crc32(flat.tobytes())
