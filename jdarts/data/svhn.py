"""Street View House Numbers, cropped digits, from MATLAB's files as published."""

from pathlib import Path

import numpy as np

from jdarts.data.base import DataConfig, RawImages, check_memory, shape_text
from jdarts.errors import UserError
from jdarts.regular_file import open_regular

__all__ = ["load"]


def load(config: DataConfig) -> RawImages:
    """Reads ``train_32x32.mat`` and, if it is there, ``test_32x32.mat``.

    The files call the digit 0 class 10; here it is class 0. ``extra_32x32.mat`` is left
    out, which the notes say.

    Raises:
      UserError: if the training file is missing, or a file is not of that form.
    """
    root = config.dir
    assert root is not None  # checked by jdarts.data.load
    if not root.is_dir():
        raise UserError(f"{root}: is a file; expected a folder with train_32x32.mat")
    x_train, y_train = _read(root / "train_32x32.mat")
    x_test, y_test = x_train[:0], y_train[:0]
    if (root / "test_32x32.mat").exists():
        x_test, y_test = _read(root / "test_32x32.mat")
    extra = (root / "extra_32x32.mat").exists()
    return RawImages(
        x_train,
        y_train,
        x_test,
        y_test,
        tuple("0123456789"),
        notes=("left out: extra_32x32.mat",) if extra else (),
    )


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images ``[N, 32, 32, 3]`` and labels ``[N]``."""
    # Imported here: the other data sets need not wait for it.
    from scipy.io import loadmat, whosmat

    try:
        with open_regular(path) as file:
            shapes = {name: shape for name, shape, _ in whosmat(file)}
            for name in shapes.keys() & {"X", "y"}:
                check_memory(shapes[name], f"{path}: {name}")
            file.seek(0)
            found = loadmat(file, variable_names=["X", "y"])
    except (OSError, UserError):
        raise
    except Exception as error:  # SciPy's reader has no common class of errors
        raise UserError(
            f"{path}: cannot be read ({type(error).__name__}: {error}); expected a "
            "file of MATLAB 5 with X and y"
        ) from None
    images, labels = (np.asarray(found.get(name, ())) for name in ("X", "y"))
    if images.dtype != np.uint8 or images.shape[:3] != (32, 32, 3) or images.ndim != 4:
        raise UserError(
            f"{path}: X is {shape_text(images)}; expected uint8 [32, 32, 3, N]"
        )
    count = images.shape[3]
    if labels.size != count or labels.dtype.kind not in "iu":
        raise UserError(
            f"{path}: y is {shape_text(labels)}; expected integers [{count}, 1]"
        )
    labels = labels.reshape(-1).astype(np.int64)
    if count and (labels.min() < 1 or labels.max() > 10):
        raise UserError(
            f"{path}: y goes from {labels.min()} to {labels.max()}; expected 1 to 10"
        )
    return np.ascontiguousarray(images.transpose(3, 0, 1, 2)), labels % 10
