"""The configuration, the table, the checks that all data sets share, and digits."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tyro

from jdarts import UserError
from jdarts.data import DATASETS, DataConfig, Dataset, RawImages, halves, load
from jdarts.data.base import channel_statistics


def error(function, *args, **kwargs):
    with pytest.raises(UserError) as caught:
        function(*args, **kwargs)
    return str(caught.value)


def test_digits():
    images = load(DataConfig())
    assert images.name == "digits"
    assert images.train_images.shape == (1437, 8, 8, 1)
    assert images.test_images.shape == (360, 8, 8, 1)
    assert images.train_images.dtype == images.test_images.dtype == np.uint8
    assert images.train_images.min() == 0 and images.train_images.max() == 255
    assert images.class_names == tuple("0123456789")
    for labels in (images.train_labels, images.test_labels):
        share = np.bincount(labels) / len(labels)
        assert labels.dtype == np.int32 and np.abs(share - 0.1).max() < 0.005


def test_digits_are_the_real_ones_each_once():
    from sklearn.datasets import load_digits

    images = load(DataConfig())
    x = np.concatenate([images.train_images, images.test_images]).reshape(-1, 64)
    y = np.concatenate([images.train_labels, images.test_labels])
    ours = sorted((*row, label) for row, label in zip(x.tolist(), y, strict=True))
    pixels, labels = load_digits(return_X_y=True)
    grey = np.rint(pixels * 255 / 16).astype(int).tolist()
    assert ours == sorted(
        (*row, label) for row, label in zip(grey, labels, strict=True)
    )


def test_digits_are_the_same_every_time():
    first, second = load(DataConfig()), load(DataConfig())
    np.testing.assert_array_equal(first.train_images, second.train_images)
    np.testing.assert_array_equal(first.test_labels, second.test_labels)
    assert first.train_labels[:10].tolist() == [6, 6, 6, 5, 6, 2, 2, 1, 1, 9]


def test_limit_in_file_order_keeps_the_first_images_and_their_statistics():
    every, few = load(DataConfig()), load(DataConfig(limit=40, split="file_order"))
    np.testing.assert_array_equal(few.train_images, every.train_images[:40])
    np.testing.assert_array_equal(few.train_labels, every.train_labels[:40])
    assert few.train_images.base is None  # the others can be freed
    assert len(few.test_images) == 360
    np.testing.assert_allclose(few.mean, (few.train_images / 255).mean())
    assert few.mean != every.mean


@pytest.mark.parametrize("channels", [1, 3])
def test_channel_statistics(channels):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 200, (40, 9, 7, channels), np.uint8)
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)), rtol=1e-12)


def test_channel_statistics_chunks():
    """Images larger than a chunk (2**22 pixels) are taken one by one."""
    images = np.zeros((3, 2100, 2000, 1), np.uint8)
    images[2] = 255
    mean, std = channel_statistics(images)
    np.testing.assert_allclose((*mean, *std), (1 / 3, np.sqrt(2) / 3), rtol=1e-12)


def test_constant_channel_has_deviation_one():
    images = np.full((2, 4, 4, 2), 7, np.uint8)
    images[0, :, :, 1] = 9
    mean, std = channel_statistics(images)
    assert std[0] == 1 and 0 < std[1] < 0.01
    np.testing.assert_allclose(mean, (7 / 255, 8 / 255))


def test_published_statistics():
    """Of the images of training, pixels in [0, 1]."""
    row = DATASETS["cifar10"]  # quark0/darts, cnn/utils.py
    assert row.mean == (0.49139968, 0.48215827, 0.44653124)
    assert row.std == (0.24703233, 0.24348505, 0.26158768)
    row = DATASETS["cifar100"]  # chenxin061/pdarts, utils.py
    assert row.mean == (0.5071, 0.4867, 0.4408)
    assert row.std == (0.2675, 0.2565, 0.2761)
    assert DATASETS["cifar100_coarse"].mean == row.mean


def test_table_statistics_come_in_pairs():
    for name, row in DATASETS.items():
        assert len(row.mean) == len(row.std), name
        assert row.description, name


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("name", "", "--data.name: empty; expected a data set"),
        ("limit", 0, "--data.limit: 0; expected a whole number >= 1"),
        ("classes", 0, "--data.classes: 0; expected a whole number >= 1"),
        ("crop_padding", -1, "--data.crop-padding: -1; expected a whole number >= 0"),
        ("cutout", -2, "--data.cutout: -2; expected a whole number >= 0"),
        *(
            (
                "valid_fraction",
                value,
                f"--data.valid-fraction: {value}; expected a number above 0 and "
                "below 1",
            )
            for value in (0.0, 1.0, -0.5, float("nan"))
        ),
    ],
)
def test_config_values(field, value, line):
    assert error(DataConfig, **{field: value}) == line


def test_config_on_the_command_line():
    args = "--name tfds:cifar10 --dir d --valid-fraction 0.25 --no-flip --limit 9"
    assert tyro.cli(DataConfig, args=args.split()) == DataConfig(
        "tfds:cifar10", Path("d"), valid_fraction=0.25, flip=False, limit=9
    )


def test_unknown_name():
    assert error(load, DataConfig(name="cifar")) == (
        "--data.name: unknown 'cifar'; did you mean 'cifar10'? choices: cifar10, "
        "cifar100, cifar100_coarse, csv, digits, fashion_mnist, idx, image_folder, "
        "npz, parquet, svhn, tfds:NAME"
    )


@pytest.mark.parametrize("name", [n for n, row in DATASETS.items() if row.dir])
def test_dir_not_given(name):
    assert error(load, DataConfig(name=name)) == (
        f"--data.dir: not given; data set '{name}' expects {DATASETS[name].dir}"
    )


def test_dir_without_effect(tmp_path):
    assert error(load, DataConfig(dir=tmp_path)) == (
        f"--data.dir: {tmp_path} would not be read; data set 'digits' needs no files; "
        "expected another --data.name or no --data.dir"
    )


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (
            DataConfig(classes=20),
            "--data.classes: digits has 10 classes, expected 20 "
            "(fewer classes than configured)",
        ),
        (
            DataConfig(classes=9),
            "--data.classes: digits has 10 classes, expected 9 "
            "(more classes than configured)",
        ),
        (
            DataConfig(limit=1438),
            "--data.limit: 1438 is more than the 1437 training images of digits; "
            "expected at most as many",
        ),
        (
            DataConfig(cutout=8),
            "--data.cutout: 8 pixels for images of 8 x 8; expected less than 8",
        ),
        (
            DataConfig(crop_padding=8),
            "--data.crop-padding: 8 pixels for images of 8 x 8; expected less than 8",
        ),
    ],
)
def test_data_and_config_do_not_fit(config, line):
    assert error(load, config) == line


def test_data_and_config_just_fit():
    load(DataConfig(classes=10, limit=1437, cutout=7, crop_padding=7))


GOOD = RawImages(
    np.zeros((4, 8, 8, 3), np.uint8),
    np.array([0, 1, 1, 0]),
    np.zeros((2, 8, 8, 3), np.uint8),
    np.array([1, 0]),
    ("a", "b"),
)
EXPECTED = (
    "expected uint8 [N, H, W, C] with 1 to 4 channels, the same H, W, C in all parts"
)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"train_images": GOOD.train_images[:0], "train_labels": np.zeros(0, int)},
            "has no training images but 2 to test; expected some to train",
        ),
        (
            {"train_images": GOOD.train_images.astype(np.float32)},
            f"the training images are float32 [4, 8, 8, 3]; {EXPECTED}",
        ),
        (
            {"train_images": np.zeros((4, 3, 8, 8), np.uint8)},
            f"the training images are uint8 [4, 3, 8, 8]; {EXPECTED}",
        ),
        (
            {"test_images": np.zeros((2, 8, 9, 3), np.uint8)},
            f"the test images are uint8 [2, 8, 9, 3]; {EXPECTED}",
        ),
        (
            {"test_labels": np.array([1, 0, 1])},
            "the test labels are int64 [3]; expected integers [2]",
        ),
        (
            {"train_labels": np.array([0.0, 1.0, 1.0, 0.0])},
            "the training labels are float64 [4]; expected integers [4]",
        ),
        (
            {"train_labels": np.array([0, 1, 2, 0])},
            "the training labels go from 0 to 2; expected 0 to 1",
        ),
        (
            {"test_labels": np.array([-1, 0])},
            "the test labels go from -1 to 0; expected 0 to 1",
        ),
    ],
)
def test_each_row_is_checked(monkeypatch, change, line):
    """Also a data set that somebody adds cannot hand on what the rest cannot take."""
    raw = GOOD._replace(**change)
    monkeypatch.setitem(DATASETS, "mine", Dataset(lambda config: raw, "a new row"))
    assert error(load, DataConfig(name="mine")) == f"mine: {line}"


def test_a_new_row_is_enough(monkeypatch):
    row = Dataset(lambda config: GOOD, "", mean=(0.1,) * 3, std=(0.2,) * 3)
    monkeypatch.setitem(DATASETS, "mine", row)
    images = load(DataConfig(name="mine"))
    assert images.mean == (0.1,) * 3 and images.std == (0.2,) * 3
    assert images.train_labels.dtype == np.int32
    assert images.num_classes == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        images.name = "other"


VALID = GOOD._replace(
    valid_images=np.full((3, 8, 8, 3), 9, np.uint8), valid_labels=np.array([1, 1, 0])
)


def test_validation_part_is_the_second_half(monkeypatch):
    monkeypatch.setitem(DATASETS, "mine", Dataset(lambda config: VALID, ""))
    config = DataConfig(name="mine")
    images = load(config)
    train, valid = halves(config, images, seed=0)
    pixels, labels = images.train_and_valid()
    np.testing.assert_array_equal(pixels[train], images.train_images)
    np.testing.assert_array_equal(pixels[np.sort(valid)], VALID.valid_images)
    np.testing.assert_array_equal(labels[train], GOOD.train_labels)
    np.testing.assert_array_equal(labels[np.sort(valid)], VALID.valid_labels)
    assert images.described == (
        "data 'mine': 4 training, 3 validation and 2 test images of 8 x 8 x 3, 2 "
        "classes (a, b)"
    )


def test_validation_part_is_judged_in_mixed_order(monkeypatch):
    """A batch of one class would be judged with the statistics of that class."""
    labels = np.repeat(np.arange(2), 32)
    raw = GOOD._replace(
        valid_images=np.zeros((64, 8, 8, 3), np.uint8), valid_labels=labels
    )
    monkeypatch.setitem(DATASETS, "mine", Dataset(lambda config: raw, ""))
    config = DataConfig(name="mine")
    _, valid = halves(config, load(config), seed=0)
    batches = labels[valid - 4].reshape(4, 16).mean(axis=1)
    assert batches.min() > 0.2 and batches.max() < 0.8


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_half_of_sorted_images_is_judged_in_mixed_order(monkeypatch, order):
    labels = np.repeat(order, 64)
    raw = GOOD._replace(
        train_images=np.zeros((128, 8, 8, 3), np.uint8), train_labels=labels
    )
    monkeypatch.setitem(DATASETS, "mine", Dataset(lambda config: raw, ""))
    config = DataConfig(name="mine")
    train, valid = halves(config, load(config), seed=0)
    batches = labels[valid].reshape(4, 16).mean(axis=1)
    assert batches.min() > 0.2 and batches.max() < 0.8
    assert sorted([*train, *valid]) == list(range(128))


def test_validation_part_is_pinned(monkeypatch):
    monkeypatch.setitem(DATASETS, "mine", Dataset(lambda config: VALID, ""))
    monkeypatch.setitem(DATASETS, "less", Dataset(lambda config: GOOD, ""))
    other = VALID._replace(valid_labels=np.array([0, 1, 1]))
    monkeypatch.setitem(DATASETS, "other", Dataset(lambda config: other, ""))
    names = ("mine", "less", "other")
    assert len({load(DataConfig(name=name)).digest for name in names}) == 3


def test_share_beside_a_validation_part(monkeypatch):
    monkeypatch.setitem(DATASETS, "mine", Dataset(lambda config: VALID, ""))
    config = DataConfig(name="mine", valid_fraction=0.3)
    assert error(halves, config, load(config), 0) == (
        "--data.valid-fraction: 0.3 has no effect, as mine has a validation part of 3 "
        "images; expected the default, 0.5, or data without that part"
    )


def test_split_beside_a_validation_part(monkeypatch):
    monkeypatch.setitem(DATASETS, "mine", Dataset(lambda config: VALID, ""))
    config = DataConfig(name="mine", split="by_class")
    assert error(halves, config, load(config), 0) == (
        "--data.split: by_class has no effect, as mine has a validation part of 3 "
        "images and there is no --data.limit; expected no --data.split, or data "
        "without that part"
    )
    limited = dataclasses.replace(config, limit=4)  # which it chooses
    halves(limited, load(limited), 0)


def test_validation_part_lacks_a_class(monkeypatch):
    raw = VALID._replace(valid_labels=np.array([1, 1, 1]))
    monkeypatch.setitem(DATASETS, "mine", Dataset(lambda config: raw, ""))
    config = DataConfig(name="mine")
    assert error(halves, config, load(config), 0) == (
        "mine: the validation part lacks the classes a; expected each class of the "
        "training part"
    )


def test_names_are_printable(monkeypatch):
    """A class may be called whatever a file says: the terminal is not to obey it."""
    raw = VALID._replace(
        class_names=("a\x1b[31m", "b\nc\udc80"), valid_labels=np.array([0, 0, 0])
    )
    monkeypatch.setitem(DATASETS, "mine", Dataset(lambda config: raw, ""))
    images = load(DataConfig(name="mine"))
    said = images.described, error(halves, DataConfig(name="mine"), images, 0)
    assert all(line.isprintable() for line in said)
    assert r"(a\x1b[31m, b\nc\udc80)" in said[0] and r"b\nc\udc80" in said[1]


def test_what_the_limit_left_out():
    assert load(DataConfig(limit=20)).described == (
        "data 'digits': 20 training and 360 test images of 8 x 8 x 1, 10 classes "
        "(0, 1, 2, 3, 4 and 5 more); --data.limit keeps 20 of 1,437 training images"
    )


@pytest.mark.parametrize("size", [(0, 8), (8, -1), (8,), (8, 8, 3)])
def test_wrong_resize(size):
    assert error(DataConfig, resize=size) == (
        f"--data.resize: {' '.join(map(str, size))}; expected a height and a width in "
        "pixels, both >= 1"
    )


def test_system_errors_name_the_file(monkeypatch, tmp_path):
    def fail(config):
        (tmp_path / "x").read_bytes()

    monkeypatch.setitem(DATASETS, "mine", Dataset(fail, ""))
    assert error(load, DataConfig(name="mine")) == (
        f"{tmp_path / 'x'}: cannot be read (No such file or directory)"
    )
