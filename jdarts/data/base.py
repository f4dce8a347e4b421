"""What a data set is once loaded, how it is configured, and the row of the table."""

import dataclasses
import functools
import hashlib
import lzma
import math
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from jdarts.data.split import BY_CLASS, SPLITS
from jdarts.errors import UserError, printable, some, unknown_choice

__all__ = [
    "DAMAGED",
    "DataConfig",
    "Dataset",
    "Images",
    "RawImages",
    "channel_statistics",
    "check_memory",
    "digest",
    "limit_note",
    "shape_text",
    "some",
]

DAMAGED = (
    *(EOFError, KeyError, TypeError, ValueError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
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
    cifar10, cifar100 and cifar100_coarse, whose files are in mixed order, by_class for
    all others."""
    crop_padding: int = 4
    """Black pixels added on each side before the random crop; 0: no crop."""
    flip: bool = True
    """Mirror half of the training images left to right."""
    cutout: int = 0
    """Side in pixels of the square that is blanked; 0: none."""
    resize: tuple[int, int] | None = None
    """Height and width that all images are brought to: scaled, the aspect kept, until
    they cover both; what then stands over is cropped on both sides alike. Not given:
    as they are, which has to be one size."""
    skip_damaged: bool = False
    """Leave image files out that cannot be read, and name them; otherwise they are an
    error."""

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
        size = self.resize
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise UserError(
                f"--data.resize: {' '.join(map(str, size))}; expected a height and a "
                "width in pixels, both >= 1"
            )


class RawImages(NamedTuple):
    """What a row of the table reads from its files.

    Attributes:
      train_images: uint8 ``[N, H, W, C]``.
      train_labels: integers ``[N]``, from 0 to ``len(class_names) - 1``.
      test_images: uint8 ``[M, H, W, C]``; M is 0 where the source has no test part.
      test_labels: integers ``[M]``.
      class_names: one name a class, in label order.
      valid_images: uint8 ``[K, H, W, C]``; None where the source has no validation
        part.
      valid_labels: integers ``[K]``; None where `valid_images` is None.
      notes: what was done to the images and what was left out, in words.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    valid_images: np.ndarray | None = None
    valid_labels: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    @property
    def parts(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Images and labels by ``train``, ``valid`` and ``test``; empty arrays for a
        part that the source lacks."""
        valid, labels = self.valid_images, self.valid_labels
        if valid is None or labels is None:
            valid, labels = self.train_images[:0], self.train_labels[:0]
        return {
            "train": (self.train_images, self.train_labels),
            "valid": (valid, labels),
            "test": (self.test_images, self.test_labels),
        }

    @property
    def all_notes(self) -> tuple[str, ...]:
        """The notes, and which classes are names only: no training image has them."""
        lacking = np.setdiff1d(np.arange(len(self.class_names)), self.train_labels)
        if not (len(self.train_labels) and lacking.size):
            return self.notes
        called = some([self.class_names[label] for label in lacking])
        what = f"{lacking.size:,} classes" if lacking.size > 1 else "the class"
        return (*self.notes, f"no training image of {what} {called}")


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """A checked data set in host memory.

    Attributes:
      name: as configured.
      source: the configured folder or file, or the name.
      train_images: pixels in 0..255.
      train_labels: from 0 to ``num_classes - 1``.
      valid_images: none where the source has no validation part.
      valid_labels: as `train_labels`.
      test_images: none where the source has no test part.
      test_labels: as `train_labels`.
      class_names: one name a class, in label order.
      mean: of each channel of the training images, pixels scaled to [0, 1].
      std: standard deviation of each channel, same scale, > 0.
      notes: what was done to the images and what was left out, in words.
    """

    name: str
    source: str
    train_images: UInt8[np.ndarray, "train height width channel"]
    train_labels: Int32[np.ndarray, " train"]
    valid_images: UInt8[np.ndarray, "valid height width channel"]
    valid_labels: Int32[np.ndarray, " valid"]
    test_images: UInt8[np.ndarray, "test height width channel"]
    test_labels: Int32[np.ndarray, " test"]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    notes: tuple[str, ...] = ()

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
            *((self.valid_images, self.valid_labels) if self.has_valid else ()),
        )

    @property
    def has_valid(self) -> bool:
        """Whether there are images to validate on beside those to train on."""
        return len(self.valid_images) > 0

    def train_and_valid(self) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels of the training part, then of the validation part."""
        if not self.has_valid:
            return self.train_images, self.train_labels
        return (
            np.concatenate([self.train_images, self.valid_images]),
            np.concatenate([self.train_labels, self.valid_labels]),
        )

    @property
    def described(self) -> str:
        """What was read, in one line."""
        counts = {
            "training": self.train_labels,
            "validation": self.valid_labels,
            "test": self.test_labels,
        }
        parts = [f"{len(own):,} {part}" for part, own in counts.items() if len(own)]
        height, width, channels = self.image_shape
        of = "" if self.source == self.name else f" of {printable(self.source)}"
        return "; ".join(
            [
                f"data '{self.name}'{of}: {_and(parts)} images of {height} x {width} "
                f"x {channels}, {self.num_classes} classes ({some(self.class_names)})",
                *self.notes,
            ]
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
      from_files: whether it reads image files one by one: then `load` brings them to
        the configured size, and can leave damaged ones out.
    """

    load: Callable[[DataConfig], RawImages]
    description: str
    dir: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    split: str = BY_CLASS
    own: bool = False
    from_files: bool = False


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


def limit_note(limit: int, found: int) -> str:
    """What ``--data.limit`` has left out, in words."""
    return f"--data.limit keeps {limit:,} of {found:,} training images"


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)


def check_memory(shape: Sequence[int], what: str, expected: str = "less") -> None:
    """Raises a UserError if bytes of that shape are more than this machine has free.

    Args:
      shape: of the array to be made.
      what: is read, for the error.
      expected: instead, for the error.
    """
    needed, free = math.prod(shape), _free_memory()
    if needed > free:
        raise UserError(
            f"{what}: {needed / 2**30:,.1f} GiB, but {free / 2**30:,.1f} GiB of memory "
            f"are free; expected {expected}"
        )


def _free_memory() -> float:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found = dict(line.split(":", 1) for line in lines)
        return int(found["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):  # not Linux
        return math.inf


def digest(settings: Any, *arrays: np.ndarray) -> str:
    """SHA-256 of plain values and of arrays, their shapes included."""
    found = hashlib.sha256(repr(settings).encode())
    for array in arrays:
        found.update(repr((array.shape, array.dtype.str)).encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
