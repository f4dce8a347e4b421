"""One image file of any form as pixels: converted, turned and resized."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps

from jdarts.regular_file import open_regular

__all__ = [
    "Pixels",
    "decode",
    "is_picture",
    "picture_suffixes",
    "resize_note",
    "resized",
]

# What Pillow hands to other programs, or knows by name only.
_NOT_HERE = frozenset(("EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"))
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_ORIENTATION = ExifTags.Base.Orientation


class Pixels(NamedTuple):
    """One image.

    Attributes:
      values: uint8 ``[H, W, 3]``, or float32 ``[H, W]`` as the file has them where it
        has more than 8 bits a pixel.
      mode: Pillow's name of the file's form.
      turned: whether it was turned as its EXIF orientation says.
      more: whether the file has further frames or pages.
    """

    values: np.ndarray
    mode: str
    turned: bool
    more: bool

    @property
    def deep(self) -> bool:
        """Whether `values` still have to be brought to 0..255."""
        return self.values.ndim == 2


def picture_suffixes() -> frozenset[str]:
    """The endings, in lower case, of files that can be read."""
    known = Image.registered_extensions()
    return frozenset(s for s, f in known.items() if f in _formats())


def is_picture(path: Path) -> bool:
    """Whether a file of any name is a whole image, by what is in it."""
    marked = [f for f in _formats() if Image.OPEN[f][1] is not None]
    try:
        with open_regular(path) as file, Image.open(file, formats=marked) as image:
            image.load()
            return True
    except Exception:  # Pillow's readers have no common class of errors
        return False


def decode(source: Path | bytes, size: tuple[int, int] | None = None) -> Pixels:
    """Reads one image; only the first of several frames. Transparency is dropped.

    Args:
      source: a file, or what is in one.
      size: height and width of the result: the image is scaled until it covers them,
        and what then stands over is cropped on both sides alike. None: as it is.

    Raises:
      OSError: if it is no regular file, or cannot be read.
      Exception: whatever Pillow raises of a damaged image.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else open_regular(source)
    with file, Image.open(file, formats=_formats()) as opened:
        mode, turned = opened.mode, _orientation(opened) != 1
        more = bool(getattr(opened, "is_animated", False))
        opened.load()
        image = ImageOps.exif_transpose(opened) if turned else opened
        if mode in _DEEP:
            image = Image.fromarray(np.asarray(image).astype(np.float32))
        else:
            image = _rgb(image)
        values = np.asarray(image)
        if size is not None:
            whole, values = values, np.asarray(_fit(image, size))
            if mode in _DEEP:  # which are scaled by their range
                values = values.clip(whole.min(), whole.max())
        return Pixels(values, mode, turned, more)


def resize_note(size: tuple[int, int]) -> str:
    """What ``--data.resize`` does, in words."""
    cropped = "what stands over cropped on both sides alike"
    return f"scaled to cover {size[0]} x {size[1]}, {cropped}"


def resized(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """As `decode` does it.

    Args:
      images: uint8 ``[N, H, W, C]``.
      size: height and width of the result.

    Returns:
      uint8 ``[N, height, width, C]``.
    """
    found = np.empty((len(images), *size, images.shape[3]), np.uint8)
    for image, result in zip(images, found, strict=True):
        for channel in range(images.shape[3]):  # Pillow knows no two or four of a kind
            plane = Image.fromarray(image[..., channel])
            result[..., channel] = np.asarray(_fit(plane, size))
    return found


def _fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    if image.size == size[::-1]:
        return image
    return ImageOps.fit(image, size[::-1], Image.Resampling.BICUBIC)


def _formats() -> list[str]:
    Image.init()
    return [name for name in Image.OPEN if name not in _NOT_HERE]


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # EXIF data are often damaged where the image is not
        return 1
    return found if found in range(1, 9) else 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "LAB":
        lab, rgb = (ImageCms.createProfile(name) for name in ("LAB", "sRGB"))
        found = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
        assert found is not None  # it is not changed in place
        return found
    if image.mode in ("La", "RGBa"):  # of which Pillow knows one way only
        image = image.convert(image.mode.replace("a", "A"))
    return image.convert("RGB")
