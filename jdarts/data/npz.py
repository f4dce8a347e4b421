"""Images from one NumPy ``.npz`` file."""

import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from jdarts.data.base import (
    DAMAGED,
    DataConfig,
    RawImages,
    check_memory,
    shape_text,
    some,
)
from jdarts.errors import UserError
from jdarts.regular_file import open_regular

__all__ = ["load"]

# Names of images and labels: of the training, the test and the validation part.
_NAMES = {
    "train_images": (
        ("train_images", "train_labels"),
        ("test_images", "test_labels"),
        ("valid_images", "valid_labels"),
        ("val_images", "val_labels"),
        ("validation_images", "validation_labels"),
    ),
    "x_train": (
        ("x_train", "y_train"),
        ("x_test", "y_test"),
        ("x_valid", "y_valid"),
        ("x_val", "y_val"),
        ("x_validation", "y_validation"),
    ),
}


def load(config: DataConfig) -> RawImages:
    """Reads a file of either naming in `_NAMES`; one of the parts may be missing.

    Images are uint8 ``[N, H, W]`` or ``[N, H, W, C]``, labels integers ``[N]`` or
    ``[N, 1]``; the classes are 0 to the greatest label, of the training part if there
    is one.

    Raises:
      UserError: if the file or an array in it is not so; it names the file.
    """
    path = config.dir
    assert path is not None  # checked by jdarts.data.load
    arrays, others = _read(path)
    namings = (own for own in _NAMES.values() if {own[0][0], own[1][0]} & {*arrays})
    names = next(namings, None)
    if names is None:
        found = ", ".join(sorted({*arrays, *others})) or "(none)"
        raise UserError(
            f"{path}: found the arrays {found}; "
            "expected train_images and train_labels, or x_train and y_train"
        )
    train, test, *valid = (_part(path, arrays, *pair) for pair in names)
    there = [part for part in valid if part is not None]
    if len(there) > 1:
        pairs = " and ".join(images for images, _ in names[2:] if images in arrays)
        raise UserError(f"{path}: has both {pairs}; expected one validation part")
    used = {name for pair in names for name in pair}
    others = sorted({*arrays, *others} - used)
    given, pair = (train, names[0]) if train is not None else (test, names[1])
    assert given is not None  # one of both is there
    none = given[0][:0], given[1][:0]
    return RawImages(
        *(train or none),
        *(test or none),
        _classes(path, pair[1], given[1]),
        *(there[0] if there else (None, None)),
        notes=(f"left out, other arrays: {some(others)}",) if others else (),
    )


def _read(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays of the file that have a known name, and the names of the others, which
    are not even unpacked."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder; expected a .npz file")
    known = {n for names in _NAMES.values() for pair in names for n in pair}
    arrays = {}
    try:
        with open_regular(path) as packed, zipfile.ZipFile(packed) as archive:
            found = {n.removesuffix(".npy"): n for n in archive.namelist()}
            for name in known & found.keys():
                with archive.open(found[name]) as file:
                    arrays[name] = _array(file, f"{path}: {name}")
    except DAMAGED as error:
        raise UserError(
            f"{path}: cannot be read ({error}); expected a .npz file of plain arrays"
        ) from None
    return arrays, [name for name in found if name not in arrays]


def _array(file: IO[bytes], where: str) -> np.ndarray:
    """One array, once its header has said that there is memory for it."""
    version = np.lib.format.read_magic(file)
    head = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        head = np.lib.format.read_array_header_2_0
    shape, _, dtype = head(file)
    check_memory((*shape, dtype.itemsize), where)
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def _part(
    path: Path, arrays: dict[str, np.ndarray], x_name: str, y_name: str
) -> tuple[np.ndarray, np.ndarray] | None:
    """One part's images ``[N, H, W, C]`` and labels ``[N]``, checked, or none."""
    if x_name not in arrays and y_name not in arrays:
        return None
    for name in (x_name, y_name):
        if name not in arrays:
            raise UserError(
                f"{path}: has no array {name}; expected both {x_name} and {y_name}"
            )
    images, labels = arrays[x_name], arrays[y_name]
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise UserError(
            f"{path}: {x_name} is {shape_text(images)}; "
            "expected uint8 [N, H, W] or [N, H, W, C]"
        )
    if labels.ndim == 2 and labels.shape[1] == 1:  # as Keras has it
        labels = labels[:, 0]
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise UserError(
            f"{path}: {y_name} is {shape_text(labels)}; expected integers [N]"
        )
    if len(images) != len(labels):
        raise UserError(
            f"{path}: {x_name} has {len(images)} images and {y_name} {len(labels)} "
            "labels; expected as many of both"
        )
    return images if images.ndim == 4 else images[..., None], labels


def _classes(path: Path, name: str, labels: np.ndarray) -> tuple[str, ...]:
    """The names "0", "1", ...: every class up to the greatest label must occur."""
    found = np.unique(labels)
    if not np.array_equal(found, np.arange(len(found))):
        raise UserError(
            f"{path}: {name} has {len(found)} different labels from {found[0]} to "
            f"{found[-1]}; expected 0 to {len(found) - 1}, each at least once"
        )
    return tuple(str(label) for label in range(len(found)))
