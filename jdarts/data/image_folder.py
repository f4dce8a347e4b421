"""Image files in one folder a class."""

from pathlib import Path

import numpy as np
from PIL import Image

from jdarts.data.base import DataConfig, RawImages
from jdarts.data.split import kept
from jdarts.errors import UserError

__all__ = ["load"]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm")
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")  # 8 bits a channel, grey or RGB
_SEED = 0  # part of the data set: every run has the same order


def load(config: DataConfig) -> RawImages:
    """Reads ``dir/train/CLASS/*`` and ``dir/test/CLASS/*``, or ``dir/CLASS/*``.

    Grey images become RGB, transparency is dropped; files with other endings and hidden
    ones are ignored. The training images are in one fixed random order, so that the
    first ones are not all of one class.

    Raises:
      UserError: if there is no image or no class, a class has no images, or an image
        cannot be read or differs from the first in size; it names the file or folder.
    """
    root = config.dir
    assert root is not None  # checked by jdarts.data.load
    if not root.is_dir():
        raise UserError(f"{root}: is a file; expected a folder of class folders")
    has_parts = (root / "train").is_dir()
    if not has_parts and (root / "test").is_dir():
        raise UserError(f"{root / 'train'}: missing; expected it beside test")
    train_root = root / "train" if has_parts else root
    class_names = tuple(path.name for path in _folders(train_root))
    if not class_names:
        raise UserError(
            f"{train_root}: has no folders; expected one folder of images a class"
        )
    train = _files(train_root, class_names)
    order = np.random.default_rng(_SEED).permutation(len(train))
    if config.limit is not None and config.limit < len(train):
        assert config.split is not None  # settled by jdarts.data.load
        labels = np.array([train[i][1] for i in order])
        order = order[kept(labels, config.limit, config.split, class_names)]
    size = _size(train[0][0])
    x_train, y_train = _read([train[i] for i in order], size, train[0][0])
    test_root = root / "test"
    test = _files(test_root, class_names) if has_parts and test_root.is_dir() else []
    x_test, y_test = _read(test, size, train[0][0])
    return RawImages(x_train, y_train, x_test, y_test, class_names)


def _folders(root: Path) -> list[Path]:
    """The visible folders in a folder, sorted by name."""
    return sorted(p for p in root.iterdir() if p.is_dir() and p.name[0] not in "._")


def _files(root: Path, class_names: tuple[str, ...]) -> list[tuple[Path, int]]:
    """Every image file below the class folders with its label, sorted."""
    files = []
    for folder in _folders(root):
        if folder.name not in class_names:
            raise UserError(
                f"{folder}: no such class in the training part; expected one of "
                f"{', '.join(class_names)}"
            )
        images = sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in _SUFFIXES and path.name[0] not in "._"
        )
        if not images:
            raise UserError(
                f"{folder}: has no images; expected files ending in "
                f"{', '.join(_SUFFIXES)}"
            )
        label = class_names.index(folder.name)
        files += [(path, label) for path in images]
    return files


def _read(
    files: list[tuple[Path, int]], size: tuple[int, int], first: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Images ``[N, H, W, 3]`` and labels ``[N]`` in the order of `files`.

    The files are opened in the order of their names, so that of several odd ones the
    error always names the same.
    """
    width, height = size
    images = np.empty((len(files), height, width, 3), np.uint8)
    for path, position in sorted((path, i) for i, (path, _) in enumerate(files)):
        image = _pixels(path)
        if image.shape != images.shape[1:]:
            raise UserError(
                f"{path}: {image.shape[1]} x {image.shape[0]} pixels; expected "
                f"{width} x {height} as {first}"
            )
        images[position] = image
    return images, np.array([label for _, label in files], np.int32)


def _size(path: Path) -> tuple[int, int]:
    """Width and height of an image."""
    height, width, _ = _pixels(path).shape
    return width, height


def _pixels(path: Path) -> np.ndarray:
    """One file as uint8 ``[H, W, 3]``."""
    try:
        with Image.open(path) as image:
            mode = image.mode
            pixels = np.asarray(image.convert("RGB")) if mode in _MODES else None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow raises SyntaxError for a PNG file with broken chunks.
        raise UserError(f"{path}: not a readable image ({error})") from None
    if pixels is None:
        raise UserError(f"{path}: an image of mode {mode}; expected 8-bit grey or RGB")
    return pixels
