"""The network as a program that JAX runs without jdarts: StableHLO by `jax.export`."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax

from jdarts.exports.inference import InferenceNetwork

__all__ = ["PLATFORMS", "run_stablehlo", "to_stablehlo"]

PLATFORMS = ("cpu", "cuda", "tpu")


def to_stablehlo(network: InferenceNetwork, image_shape: tuple[int, int, int]) -> bytes:
    """One program for all PLATFORMS and any number of images, as a file's content.

    Args:
      network: what to export; its weights become part of the program.
      image_shape: ``(height, width, channels)``.

    Returns:
      What `jax.export.deserialize` reads: a program from uint8 images ``[batch, height,
      width, channels]`` to float32 logits ``[batch, classes]``.
    """
    batch, *_ = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *image_shape), jnp.uint8)
    program = jax.jit(lambda images: network(_Arrays(), images))
    return bytes(export.export(program, platforms=PLATFORMS)(images).serialize())


def run_stablehlo(content: bytes, images: np.ndarray) -> np.ndarray:
    """The program's logits of some images."""
    return np.asarray(export.deserialize(bytearray(content)).call(images))


class _Arrays:
    """`Operations` on arrays ``[batch, height, width, channel]``, in plain XLA."""

    def scale_images(
        self, images: jax.Array, scale: np.ndarray, shift: np.ndarray
    ) -> jax.Array:
        return images.astype(jnp.float32) * scale + shift

    def conv(
        self,
        x: jax.Array,
        kernel: np.ndarray,
        bias: np.ndarray,
        *,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        dilation: int = 1,
        groups: int = 1,
    ) -> jax.Array:
        y = lax.conv_general_dilated(
            x,
            jnp.asarray(kernel),
            stride,
            [(p, p) for p in padding],
            rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )
        return y + bias

    def max_pool(self, x: jax.Array, kernel: int, stride: int) -> jax.Array:
        return lax.reduce_window(x, -jnp.inf, lax.max, **_window(kernel, stride))

    def mean_pool(self, x: jax.Array, kernel: int, stride: int) -> jax.Array:
        window = _window(kernel, stride)
        inside = np.ones((1, *x.shape[1:3], 1), np.float32)
        count = lax.reduce_window(inside, 0.0, lax.add, **window)
        return lax.reduce_window(x, 0.0, lax.add, **window) / count

    def affine(self, x: jax.Array, scale: np.ndarray, shift: np.ndarray) -> jax.Array:
        return x * scale + shift

    def relu(self, x: jax.Array) -> jax.Array:
        return jnp.maximum(x, 0)

    def without_first(self, x: jax.Array) -> jax.Array:
        return x[:, 1:, 1:]

    def add(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return x + y

    def concat(self, values: list[jax.Array]) -> jax.Array:
        return jnp.concatenate(values, axis=-1)

    def classify(self, x: jax.Array, kernel: np.ndarray, bias: np.ndarray) -> jax.Array:
        mean = x.mean((1, 2))
        return jnp.dot(mean, jnp.asarray(kernel), precision="float32") + bias


def _window(kernel: int, stride: int) -> dict[str, tuple]:
    reach = (kernel // 2, kernel // 2)
    return {
        "window_dimensions": (1, kernel, kernel, 1),
        "window_strides": (1, stride, stride, 1),
        "padding": ((0, 0), reach, reach, (0, 0)),
    }
