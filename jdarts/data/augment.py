"""Random crop, flip, normalisation and cutout of a batch, inside the compiled step."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from jdarts.data.base import DataConfig, Images

__all__ = ["AugmentSpec", "augment", "augment_spec", "normalise"]


@dataclasses.dataclass(frozen=True)
class AugmentSpec:
    """How training images are altered.

    Attributes:
      crop_padding: black pixels added on each side before a crop of the old size is
        taken at a random place; 0: no crop.
      flip: whether to mirror each image left to right with probability 1/2.
      cutout: side in pixels of the blanked square; 0: none.
      mean: of each channel, pixels scaled to [0, 1].
      std: standard deviation of each channel, same scale, > 0.
    """

    crop_padding: int
    flip: bool
    cutout: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def augment_spec(config: DataConfig, images: Images) -> AugmentSpec:
    """What the configuration says for these images."""
    return AugmentSpec(
        config.crop_padding, config.flip, config.cutout, images.mean, images.std
    )


def augment(
    key: PRNGKeyArray,
    images: UInt8[Array, "batch height width channel"],
    spec: AugmentSpec,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "batch height width channel"]:
    """Crops, flips, normalises and cuts out, each image with its own random choices.

    The order is the reference's: padding is black before normalisation (so it is not 0
    after), the cut-out square is 0 after it (so it has the mean colour).

    Args:
      key: all randomness comes from it. The three transformations have keys of their
        own: turning one off leaves the others as they were.
      images: raw pixels.
      spec: what to do; part of the compiled program.
      dtype: of the result.
    """
    crop_key, flip_key, cutout_key = jax.random.split(key, 3)
    if spec.crop_padding:
        images = _random_crop(crop_key, images, spec.crop_padding)
    if spec.flip:
        mirrored = jax.random.bernoulli(flip_key, shape=(len(images), 1, 1, 1))
        images = jnp.where(mirrored, images[:, :, ::-1], images)
    values = normalise(images, spec, dtype)
    if spec.cutout:
        values = _cutout(cutout_key, values, spec.cutout)
    return values


def normalise(
    images: UInt8[Array, "batch height width channel"],
    spec: AugmentSpec,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "batch height width channel"]:
    """``(images / 255 - mean) / std``, computed in at least float32.

    Raises:
      ValueError: if `spec` has not one mean and deviation for each channel.
    """
    channels = images.shape[-1]
    if not len(spec.mean) == len(spec.std) == channels:
        raise ValueError(
            f"mean {spec.mean} and std {spec.std} for images of {channels} channels"
        )
    compute = jnp.promote_types(dtype, jnp.float32)
    mean, std = jnp.asarray(spec.mean, compute), jnp.asarray(spec.std, compute)
    return ((images.astype(compute) / 255 - mean) / std).astype(dtype)


def _random_crop(key: PRNGKeyArray, images: Array, padding: int) -> Array:
    """A window of the old size at a uniformly random place of the padded image."""
    batch, height, width, channels = images.shape
    sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    corners = jax.random.randint(key, (batch, 2), 0, 2 * padding + 1)

    def crop(image: Array, corner: Array) -> Array:
        start = (corner[0], corner[1], 0)
        return jax.lax.dynamic_slice(image, start, (height, width, channels))

    # One gather after vmap. On CPU (batch 64, 32 x 32 x 3) 0.2 ms for all of `augment`,
    # as indexing by hand; products with 0/1 matrices 0.4 ms, a sum over shifts 4.7 ms.
    return jax.vmap(crop)(jnp.pad(images, sides), corners)


def _cutout(key: PRNGKeyArray, values: Array, side: int) -> Array:
    """Zeros in a square whose centre is anywhere in the image: it may be clipped."""
    batch, height, width, _ = values.shape

    def inside(axis_key: PRNGKeyArray, length: int) -> Array:
        start = jax.random.randint(axis_key, (batch, 1), 0, length) - side // 2
        position = jnp.arange(length)
        return (position >= start) & (position < start + side)

    row_key, column_key = jax.random.split(key)
    rows, columns = inside(row_key, height), inside(column_key, width)
    square = rows[:, :, None, None] & columns[:, None, :, None]
    return jnp.where(square, jnp.zeros((), values.dtype), values)
