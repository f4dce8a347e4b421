"""Many image files as arrays: of one size; what is damaged is an error or said."""

import collections
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from jdarts.data.base import DataConfig, RawImages, check_memory, limit_note, some
from jdarts.data.pictures import Pixels, decode, resize_note
from jdarts.data.split import kept
from jdarts.errors import UserError

__all__ = ["PART_NAMES", "Labelled", "read_parts"]

_FEWER = "fewer images (--data.limit) or smaller ones (--data.resize)"
PART_NAMES = {
    "train": ("train", "training", "train_set", "training_set"),
    "valid": (
        *("val", "valid", "validation", "dev"),
        *("val_set", "valid_set", "validation_set", "dev_set"),
    ),
    "test": ("test", "testing", "test_set", "testing_set"),
}
"""The parts of a data set, and what they are called where they are files or folders."""
_WHITES = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0)
"""What images of more than 8 bits take for white: of 1, 8, 10, 12, 14 and 16 bits; the
lowest that covers their values."""
_SEED = 0  # part of the data set: every run has the same order


class Labelled(NamedTuple):
    """An image that is still to be read.

    Attributes:
      name: for messages.
      source: its file, or what is in it.
      label: its class.
    """

    name: str
    source: Path | bytes
    label: int


def read_parts(
    config: DataConfig,
    parts: Mapping[str, Sequence[Labelled]],
    class_names: tuple[str, ...],
    notes: Sequence[str] = (),
) -> RawImages:
    """Reads the images of all parts, which have to be of one size.

    Args:
      config: `limit`, `resize` and `skip_damaged` are read here.
      parts: by the keys of PART_NAMES; one image or more in all. The training images
        are put in one fixed random order, so that the first ones are not all of
        one class, and cut to `limit`; damaged ones that are skipped do not count.
      class_names: in label order.
      notes: what else is to be said of the data.

    Raises:
      UserError: if an image is of another size than the first, or some are damaged and
        are not to be skipped: then it names them all, or the first ones of many.
    """
    train = parts.get("train", ())
    order = np.random.default_rng(_SEED).permutation(len(train))
    parts = {**parts, "train": [train[i] for i in order]}
    damaged: dict[str, str] = {}
    while True:
        good = {
            part: [item for item in parts.get(part, ()) if item.name not in damaged]
            for part in PART_NAMES
        }
        chosen = {**good, "train": _kept(config, good["train"], class_names)}
        reading = _Reading(config, chosen)
        reading.run()
        damaged |= reading.damaged
        if damaged and not config.skip_damaged:
            raise _damaged_error(damaged)
        if not reading.damaged:
            break
        if len(chosen["train"]) == len(good["train"]):  # none to take in their place
            good = chosen = reading.drop()
            break
    for part in PART_NAMES:
        if parts.get(part) and not good[part]:
            raise UserError(
                f"{config.dir}: all images of the part {part} are damaged "
                f"({_reasons(damaged)}); expected at least one that can be read"
            )
    arrays = reading.arrays()
    used, found = len(chosen["train"]), len(good["train"])
    if used < found:
        notes = (limit_note(used, found), *notes)
    if damaged:
        notes = (*notes, f"damaged images left out: {_reasons(damaged)}")
    return RawImages(
        *arrays["train"],
        *arrays["test"],
        class_names,
        *arrays["valid"],
        notes=(*reading.notes(), *notes),
    )


def _kept(
    config: DataConfig, items: list[Labelled], class_names: tuple[str, ...]
) -> list[Labelled]:
    """The training images that ``--data.limit`` keeps."""
    if config.limit is None or config.limit >= len(items):
        return items
    assert config.split is not None  # settled by jdarts.data.load
    labels = np.array([item.label for item in items])
    return [items[i] for i in kept(labels, config.limit, config.split, class_names)]


class _Reading:
    """Reads images into one array.

    Attributes:
      damaged: name to what is wrong.
    """

    def __init__(self, config: DataConfig, parts: dict[str, list[Labelled]]) -> None:
        self.config, self.parts = config, parts
        self.items = [item for own in parts.values() for item in own]
        self.damaged: dict[str, str] = {}
        self._images: np.ndarray | None = None
        self._deep: dict[int, np.ndarray] = {}
        self._first = ""
        self._modes: collections.Counter[str] = collections.Counter()
        self._turned: list[str] = []
        self._more: list[str] = []

    def run(self) -> None:
        """Reads each part by name, so that of several odd ones the error always names
        the same."""
        order, start = [], 0
        for own in self.parts.values():
            places = range(start, start + len(own))
            order += sorted(places, key=lambda i: self.items[i].name)
            start += len(own)
        for i, found in zip(order, self._decoded(order), strict=True):
            name = self.items[i].name
            if isinstance(found, str):
                self.damaged[name] = found
                continue
            self._put(i, name, found)
            self._modes[found.mode] += 1
            self._turned += [name] if found.turned else []
            self._more += [name] if found.more else []
        self._scale()

    def drop(self) -> dict[str, list[Labelled]]:
        """Leaves the damaged ones out, without reading the others again; the parts."""
        kept = [i for i, item in enumerate(self.items) if item.name not in self.damaged]
        if self._images is not None:
            for place, i in enumerate(kept):  # no copy of all
                self._images[place] = self._images[i]
            self._images = self._images[: len(kept)]
        self.items = [self.items[i] for i in kept]
        self.parts = {
            part: [item for item in own if item.name not in self.damaged]
            for part, own in self.parts.items()
        }
        return self.parts

    def _decoded(self, order: list[int]) -> Iterator[Pixels | str]:
        """Each image, or what is wrong with it."""
        size = self.config.resize
        pool = ThreadPoolExecutor(os.cpu_count())  # decoding lets other threads run
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd metadata, which are not used
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                yield from pool.map(
                    lambda i: _try(self.items[i].source, size), order, chunksize=1
                )
        finally:
            pool.shutdown(cancel_futures=True)

    def _put(self, i: int, name: str, found: Pixels) -> None:
        height, width = found.values.shape[:2]
        if self._images is None:
            shape = (len(self.items), height, width, 3)
            check_memory(shape, f"{self.config.dir}: {len(self.items)} images", _FEWER)
            self._images, self._first = np.empty(shape, np.uint8), name
        if (height, width) != self._images.shape[1:3]:
            rows, columns = self._images.shape[1:3]
            raise UserError(
                f"{name}: {width} x {height} pixels; expected {columns} x {rows} as "
                f"{self._first}, or --data.resize HEIGHT WIDTH, which brings all "
                "images to one size"
            )
        if found.deep:
            self._deep[i] = found.values
        else:
            self._images[i] = found.values

    def _scale(self) -> None:
        """Brings the images of more than 8 bits to 0..255, all by the same factor."""
        if not self._deep:
            return
        assert self._images is not None  # `_put` has made it
        black, white = self._range()
        for i, values in self._deep.items():
            scaled = (values - black) * np.float32(255 / (white - black))
            self._images[i] = np.clip(np.rint(scaled), 0, 255)[..., None]

    def _range(self) -> tuple[float, float]:
        """The values of black and white in the images of more than 8 bits."""
        least = min(float(v.min()) for v in self._deep.values())
        most = max(float(v.max()) for v in self._deep.values())
        return min(least, 0.0), next((w for w in _WHITES if most <= w), most)

    def arrays(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Images and labels by part, after `run` without damaged ones, or `drop`."""
        assert self._images is not None  # there is an image
        labels = np.array([item.label for item in self.items], np.int32)
        ends = np.cumsum([len(own) for own in self.parts.values()])[:-1]
        pairs = zip(np.split(self._images, ends), np.split(labels, ends), strict=True)
        return dict(zip(self.parts, pairs, strict=True))

    def notes(self) -> list[str]:
        """What was done to the images."""
        notes = []
        if self.config.resize is not None:
            notes.append(resize_note(self.config.resize))
        others = [f"{n} {m}" for m, n in sorted(self._modes.items()) if m != "RGB"]
        if others:
            notes.append(f"made RGB: {', '.join(others)}")
        if self._deep:
            black, white = self._range()
            notes.append(
                f"values {black:g} to {white:g} of {len(self._deep)} images of more "
                "than 8 bits made 0 to 255"
            )
        if self._turned:
            notes.append(f"turned by EXIF orientation: {some(self._turned)}")
        if self._more:
            notes.append(f"first frame of several taken: {some(self._more)}")
        return notes


def _try(source: Path | bytes, size: tuple[int, int] | None) -> Pixels | str:
    try:
        found = decode(source, size)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return f"has more than {Image.MAX_IMAGE_PIXELS:,} pixels"
    except Image.UnidentifiedImageError:
        return "is of no form that is known"
    except Exception as error:  # Pillow's readers have no common class of errors
        text = error.strerror if isinstance(error, OSError) else None
        return text or str(error) or type(error).__name__
    if found.deep and not np.isfinite(found.values).all():
        return "has values that are not finite"
    return found


def _damaged_error(damaged: dict[str, str]) -> UserError:
    count = len(damaged)
    what = "1 image" if count == 1 else f"{count} images"
    return UserError(
        f"{what} cannot be read: {_reasons(damaged)}; expected whole images, or "
        "--data.skip-damaged to go on without them"
    )


def _reasons(damaged: dict[str, str]) -> str:
    return some([f"{name} ({why})" for name, why in sorted(damaged.items())])
