"""The 8 x 8 handwritten digits that come with scikit-learn."""

import numpy as np

from jdarts.data.base import DataConfig, RawImages
from jdarts.data.split import BY_CLASS, train_valid_split

__all__ = ["load"]

_TEST_IMAGES = 360
_SEED = 0  # part of the data set: every run has the same test images


def load(config: DataConfig) -> RawImages:
    """1437 training and 360 test images, uint8 ``[N, 8, 8, 1]``; no file is read.

    The file's order follows the writers, so the images are first put into one fixed
    random order; the test part has the same share of each class.
    """
    # Imported here: it takes a second, which the other data sets need not wait.
    from sklearn.datasets import load_digits

    del config
    pixels, labels = load_digits(return_X_y=True)  # float64 0..16 [N, 64], int64 [N]
    order = np.random.default_rng(_SEED).permutation(len(labels))
    images = np.rint(pixels[order] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = labels[order]
    train, test = train_valid_split(labels, _TEST_IMAGES / len(labels), BY_CLASS, _SEED)
    names = tuple(str(digit) for digit in range(10))
    return RawImages(images[train], labels[train], images[test], labels[test], names)
