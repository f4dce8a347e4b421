"""Images from one NumPy ``.npz`` file."""

import zipfile
from pathlib import Path

import numpy as np

from jdarts.data.base import DAMAGED, DataConfig, RawImages, shape_text
from jdarts.errors import UserError

__all__ = ["load"]

_NAMES = {  # of the images and labels of the training part, then of the test part
    "train_images": ("train_images", "train_labels", "test_images", "test_labels"),
    "x_train": ("x_train", "y_train", "x_test", "y_test"),
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
    arrays = _read(path)
    found = (names for names in _NAMES.values() if {*names[::2]} & arrays.keys())
    names = next(found, None)
    if names is None:
        raise UserError(
            f"{path}: found the arrays {', '.join(sorted(arrays)) or '(none)'}; "
            "expected train_images and train_labels, or x_train and y_train"
        )
    if names[0] not in arrays and names[1] not in arrays:
        x_test, y_test = _part(path, arrays, names[2], names[3])
        classes = _classes(path, names[3], y_test)
        return RawImages(x_test[:0], y_test[:0], x_test, y_test, classes)
    x_train, y_train = _part(path, arrays, names[0], names[1])
    if names[2] in arrays or names[3] in arrays:
        x_test, y_test = _part(path, arrays, names[2], names[3])
    else:
        x_test, y_test = x_train[:0], y_train[:0]
    classes = _classes(path, names[1], y_train)
    return RawImages(x_train, y_train, x_test, y_test, classes)


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of the file that have a known name; others are not even unpacked."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder; expected a .npz file")
    known = {name for names in _NAMES.values() for name in names}
    try:
        with zipfile.ZipFile(path) as archive:
            found = {n.removesuffix(".npy") for n in archive.namelist()}
        with np.load(path, allow_pickle=False) as file:
            arrays = {n: file[n] if n in known else np.empty(0) for n in found}
    except DAMAGED as error:
        raise UserError(
            f"{path}: cannot be read ({error}); expected a .npz file of plain arrays"
        ) from None
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy returns other files' bytes
            raise UserError(f"{path}: {name} is not an array; expected plain arrays")
    return arrays


def _part(
    path: Path, arrays: dict[str, np.ndarray], x_name: str, y_name: str
) -> tuple[np.ndarray, np.ndarray]:
    """One part's images ``[N, H, W, C]`` and labels ``[N]``, checked."""
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
    if labels.shape == (len(labels), 1):  # as Keras has it
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
