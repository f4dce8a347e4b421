"""The .npz reader."""

import numpy as np
import pytest

from jdarts import UserError
from jdarts.data import DataConfig, load

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (6, 9, 8, 3), np.uint8)
Y = np.array([2, 0, 1, 1, 0, 2])
X_TEST = RNG.integers(0, 256, (2, 9, 8, 3), np.uint8)
Y_TEST = np.array([1, 2])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data.npz"


def read(path, **config):
    return load(DataConfig(name="npz", dir=path, **config))


def error(path):
    with pytest.raises(UserError) as caught:
        read(path)
    return str(caught.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "names",
    [
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("x_train", "y_train", "x_test", "y_test"),
    ],
)
def test_both_namings(path, save, names):
    save(path, **dict(zip(names, (X, Y, X_TEST, Y_TEST), strict=True)), other=Y)
    images = read(path)
    np.testing.assert_array_equal(images.train_images, X)
    np.testing.assert_array_equal(images.train_labels, Y)
    np.testing.assert_array_equal(images.test_images, X_TEST)
    np.testing.assert_array_equal(images.test_labels, Y_TEST)
    assert images.class_names == ("0", "1", "2")
    np.testing.assert_allclose(images.mean, (X / 255).mean((0, 1, 2)))
    np.testing.assert_allclose(images.std, (X / 255).std((0, 1, 2)))


def test_no_test_part(path):
    np.savez(path, train_images=X, train_labels=Y)
    images = read(path)
    assert images.test_images.shape == (0, 9, 8, 3)
    assert images.test_labels.shape == (0,)


@pytest.mark.parametrize(
    "names",
    [
        ("train_images", "train_labels", "valid_images", "valid_labels"),
        ("train_images", "train_labels", "val_images", "val_labels"),
        ("x_train", "y_train", "x_valid", "y_valid"),
        ("x_train", "y_train", "x_val", "y_val"),
        ("train_images", "train_labels", "validation_images", "validation_labels"),
        ("x_train", "y_train", "x_validation", "y_validation"),
    ],
)
def test_validation_part(path, names):
    np.savez(path, **dict(zip(names, (X, Y, X_TEST, Y_TEST), strict=True)), other=Y)
    images = read(path)
    np.testing.assert_array_equal(images.valid_images, X_TEST)
    np.testing.assert_array_equal(images.valid_labels, Y_TEST)
    assert images.test_images.shape == (0, 9, 8, 3)
    assert images.notes == ("left out, other arrays: other",)


def test_two_validation_parts(path):
    more = {"val_images": X, "val_labels": Y, "valid_images": X, "valid_labels": Y}
    np.savez(path, train_images=X, train_labels=Y, **more)
    assert error(path) == (
        f"{path}: has both valid_images and val_images; expected one validation part"
    )


def test_grey_and_column_labels(path):
    np.savez(path, x_train=X[..., 0], y_train=Y[:, None].astype(np.uint8))
    images = read(path)
    np.testing.assert_array_equal(images.train_images, X[..., :1])
    np.testing.assert_array_equal(images.train_labels, Y)
    assert images.image_shape == (9, 8, 1)


def test_arrays_that_are_not_used_are_not_read(path):
    np.savez(path, x_train=X, y_train=Y, extra=np.array([object()]))
    np.testing.assert_array_equal(read(path).train_images, X)


BAD = {
    "names": (
        {"images": X, "labels": Y},
        "found the arrays images, labels; expected train_images and train_labels, or "
        "x_train and y_train",
    ),
    "none": (
        {},
        "found the arrays (none); expected train_images and train_labels, or x_train "
        "and y_train",
    ),
    "no labels": (
        {"x_train": X},
        "has no array y_train; expected both x_train and y_train",
    ),
    "no test labels": (
        {"train_images": X, "train_labels": Y, "test_images": X},
        "has no array test_labels; expected both test_images and test_labels",
    ),
    "dtype": (
        {"x_train": X / 255, "y_train": Y},
        "x_train is float64 [6, 9, 8, 3]; expected uint8 [N, H, W] or [N, H, W, C]",
    ),
    "flat": (
        {"x_train": X.reshape(6, -1), "y_train": Y},
        "x_train is uint8 [6, 216]; expected uint8 [N, H, W] or [N, H, W, C]",
    ),
    "one hot": (
        {"x_train": X, "y_train": np.eye(3, dtype=int)[Y]},
        "y_train is int64 [6, 3]; expected integers [N]",
    ),
    "one label": (
        {"x_train": X, "y_train": np.array(3)},
        "y_train is int64 []; expected integers [N]",
    ),
    "one image": (
        {"x_train": np.uint8(3), "y_train": Y},
        "x_train is uint8 []; expected uint8 [N, H, W] or [N, H, W, C]",
    ),
    "float labels": (
        {"x_train": X, "y_train": Y / 1},
        "y_train is float64 [6]; expected integers [N]",
    ),
    "lengths": (
        {"x_train": X, "y_train": Y[:5]},
        "x_train has 6 images and y_train 5 labels; expected as many of both",
    ),
    "from one": (
        {"x_train": X, "y_train": Y + 1},
        "y_train has 3 different labels from 1 to 3; expected 0 to 2, each at least "
        "once",
    ),
    "gap": (
        {"x_train": X, "y_train": Y * 2},
        "y_train has 3 different labels from 0 to 4; expected 0 to 2, each at least "
        "once",
    ),
    "test label": (
        {"x_train": X, "y_train": Y, "x_test": X_TEST, "y_test": Y_TEST + 1},
        "the test labels go from 2 to 3; expected 0 to 2",
    ),
    "no images": (
        {"x_train": X[:0], "y_train": Y[:0]},
        "has no images; expected some to train",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arrays(path, case):
    arrays, message = BAD[case]
    np.savez(path, **arrays)
    assert error(path) == f"{path}: {message}"


def test_objects_are_not_unpickled(path):
    np.savez(path, x_train=np.array([object()]), y_train=Y)
    assert error(path) == (
        f"{path}: cannot be read (Object arrays cannot be loaded when "
        "allow_pickle=False); expected a .npz file of plain arrays"
    )


def test_not_a_zip(path):
    path.write_bytes(b"no zip")
    assert error(path) == (
        f"{path}: cannot be read (File is not a zip file); expected a .npz file of "
        "plain arrays"
    )


@pytest.mark.parametrize("where", [0.2, 0.5, 0.999])
def test_corrupt_zip(path, where):
    """A changed byte of an image, or of the index, or a file that is cut."""
    np.savez_compressed(path, x_train=X, y_train=Y)
    data = bytearray(path.read_bytes())
    cut = bytes(data[: int(where * len(data))])
    data[int(0.3 * len(data))] ^= 0xFF
    for content in (cut, bytes(data)):
        path.write_bytes(content)
        assert error(path).startswith(f"{path}: cannot be read (")


def test_folder(tmp_path):
    assert error(tmp_path) == f"{tmp_path}: is a folder; expected a .npz file"


def test_missing(path):
    assert error(path).startswith(f"{path}: no such file or folder (--data.dir); ")
