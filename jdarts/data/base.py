"""What a data set is once loaded, how it is configured, and the row of the table."""

import dataclasses
import functools
import hashlib
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from jdarts.data.split import BY_CLASS, SPLITS
from jdarts.errors import UserError, unknown_choice

__all__ = [
    "DAMAGED",
    "DataConfig",
    "Dataset",
    "Images",
    "RawImages",
    "channel_statistics",
    "digest",
    "shape_text",
]

DAMAGED = (
    *(EOFError, KeyError, TypeError, ValueError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What reading a zip or ``.npz`` file raises that is damaged, or none."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which images to load, how to divide them, how to augment them."""

    name: str = "digits"
    """Data set: a row of the DATASETS table; tfds:NAME reads a prepared TFDS folder."""
    dir: Path | None = None
    """Folder or file of the data; every data set but digits needs it."""
    classes: int | None = None
    """Number of classes that the data must have; not given: any."""
    limit: int | None = None
    """Use only this many training images, chosen as --data.split says; not given: all.
    """
    valid_fraction: float = 0.5
    """Share of the training images that trains the architecture, in (0, 1)."""
    split: str | None = None
    """by_class: divide every class alike, drawn by the seed; file_order: the first
    images train the weights, as in the published searches. Not given: file_order for
    cifar10 and cifar100, whose files are in mixed order, by_class for all others."""
    crop_padding: int = 4
    """Black pixels added on each side before the random crop; 0: no crop."""
    flip: bool = True
    """Mirror half of the training images left to right."""
    cutout: int = 0
    """Side in pixels of the square that is blanked; 0: none."""

    def __post_init__(self):
        """Checks each value.

        Raises:
          UserError: it names the field as on the command line.
        """
        if not self.name:
            raise UserError("--data.name: empty; expected a data set")
        if not 0 < self.valid_fraction < 1:
            raise UserError(
                f"--data.valid-fraction: {self.valid_fraction}; expected a number "
                "above 0 and below 1"
            )
        if self.split is not None and self.split not in SPLITS:
            raise unknown_choice("--data.split", self.split, SPLITS)
        for field, least in (
            ("classes", 1),
            ("limit", 1),
            ("crop_padding", 0),
            ("cutout", 0),
        ):
            value = getattr(self, field)
            if value is not None and value < least:
                flag = field.replace("_", "-")
                raise UserError(
                    f"--data.{flag}: {value}; expected a whole number >= {least}"
                )


class RawImages(NamedTuple):
    """What a row of the table reads from its files.

    Attributes:
      train_images: uint8 ``[N, H, W, C]``.
      train_labels: integers ``[N]``, from 0 to ``len(class_names) - 1``.
      test_images: uint8 ``[M, H, W, C]``; M is 0 where the source has no test part.
      test_labels: integers ``[M]``.
      class_names: one name a class, in label order.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """A checked data set in host memory.

    Attributes:
      name: as configured.
      train_images: pixels in 0..255.
      train_labels: from 0 to ``num_classes - 1``.
      test_images: none (``M = 0``) where the source has no test part.
      test_labels: as `train_labels`.
      class_names: one name a class, in label order.
      mean: of each channel of the training images, pixels scaled to [0, 1].
      std: standard deviation of each channel, same scale, > 0.
    """

    name: str
    train_images: UInt8[np.ndarray, "train height width channel"]
    train_labels: Int32[np.ndarray, " train"]
    test_images: UInt8[np.ndarray, "test height width channel"]
    test_labels: Int32[np.ndarray, " test"]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def normalised_by(self, meta: dict[str, Any]) -> "Images":
        """The same images with the mean and deviation that a checkpoint tells of, if
        it does: those of what was trained on."""
        mean, std = meta.get("mean", self.mean), meta.get("std", self.std)
        return dataclasses.replace(self, mean=tuple(mean), std=tuple(std))

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of what is learnt from and judged by."""
        return digest(
            (self.class_names, self.mean, self.std),
            *(self.train_images, self.train_labels),
            *(self.test_images, self.test_labels),
        )

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(height, width, channels)`` of every image."""
        _, height, width, channels = self.train_images.shape
        return height, width, channels


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A row of the DATASETS table.

    Attributes:
      load: reads the files. May assume that ``config.dir`` exists if `dir` is given and
        that ``config.split`` is given, and may read only the training images that
        `jdarts.data.split.kept` keeps; raises UserError naming the file.
      description: one line for the help and the README.
      dir: how ``--data.dir`` has to look; empty if the data set needs none.
      mean: published mean of each channel; empty: computed from the training images.
      std: published standard deviation of each channel; empty: computed.
      split: how its training images are divided unless that is configured.
      own: whether ``config.dir`` holds data of one's own, which runs are named after.
    """

    load: Callable[[DataConfig], RawImages]
    description: str
    dir: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    split: str = BY_CLASS
    own: bool = False


def channel_statistics(
    images: np.ndarray,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, pixels scaled to [0, 1].

    Counts how often each of the 256 values occurs, chunk by chunk, so that it is exact
    and never holds a floating-point copy of the images.

    Args:
      images: uint8 ``[N, H, W, C]``, N > 0.

    Returns:
      Means and standard deviations, C of each. A channel with a single value gets the
      deviation 1, so that normalising it gives 0 and not NaN.
    """
    channels = images.shape[-1]
    counts = np.zeros((channels, 256), np.int64)
    step = max(1, 2**22 // images[0].size)
    for start in range(0, len(images), step):
        pixels = images[start : start + step].reshape(-1, channels)
        for channel in range(channels):
            counts[channel] += np.bincount(pixels[:, channel], minlength=256)
    share = counts / counts.sum(axis=1, keepdims=True)
    values = np.arange(256) / 255
    mean = share @ values
    std = np.sqrt((share * (values - mean[:, None]) ** 2).sum(axis=1))
    std[(counts > 0).sum(axis=1) == 1] = 1.0
    return tuple(mean.tolist()), tuple(std.tolist())


def shape_text(array: np.ndarray) -> str:
    """An array's type and shape for an error: ``uint8 [5, 8, 8, 3]``."""
    return f"{array.dtype} {list(array.shape)}"


def digest(settings: Any, *arrays: np.ndarray) -> str:
    """SHA-256 of plain values and of arrays, their shapes included."""
    found = hashlib.sha256(repr(settings).encode())
    for array in arrays:
        found.update(repr((array.shape, array.dtype.str)).encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
