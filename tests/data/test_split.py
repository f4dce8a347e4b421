"""The division of the training images, and which ones a limit keeps."""

import numpy as np
import pytest

from jdarts import UserError
from jdarts.data import train_valid_split
from jdarts.data.split import BY_CLASS, FILE_ORDER, SPLITS, kept

LABELS = np.random.default_rng(0).integers(0, 7, 1000)


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.613])
@pytest.mark.parametrize("split", SPLITS)
def test_parts_are_disjoint_ascending_and_cover_all(fraction, split):
    train, valid = train_valid_split(LABELS, fraction, split, seed=3)
    assert train.dtype == valid.dtype == np.int32
    assert len(train) == int(np.floor((1 - fraction) * 1000))
    np.testing.assert_array_equal(np.union1d(train, valid), np.arange(1000))
    assert len(train) + len(valid) == 1000
    assert (np.diff(train) > 0).all() and (np.diff(valid) > 0).all()


def test_file_order():
    train, valid = train_valid_split(
        LABELS[[0, 1, 0, 1, 1, 0, 1, 0, 1, 0]], 0.3, FILE_ORDER
    )
    assert train.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert valid.tolist() == [7, 8, 9]


@pytest.mark.parametrize("count", [10, 100, 1000, 50_000])
@pytest.mark.parametrize("percent", [10, 20, 30, 35, 70, 90])
def test_exact_fractions_are_not_rounded_down(count, percent):
    """(1 - 0.9) * 10 is just below 1 in floating point."""
    labels = np.zeros(count, int)
    train, _ = train_valid_split(labels, percent / 100, FILE_ORDER)
    assert len(train) == (100 - percent) * count // 100


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.613])
def test_shares_by_class(fraction):
    train, _ = train_valid_split(LABELS, fraction)
    exact = np.bincount(LABELS) * (len(train) / 1000)
    assert np.abs(np.bincount(LABELS[train]) - exact).max() < 1
    plain, _ = train_valid_split(LABELS, fraction, FILE_ORDER)
    assert np.abs(np.bincount(LABELS[plain]) - exact).max() > 1


def test_by_class_is_shuffled_by_its_seed():
    parts = [train_valid_split(LABELS, 0.5, BY_CLASS, seed)[0] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(parts[0], parts[1])
    assert 150 < len(np.intersect1d(parts[0], parts[2])) < 350  # half of 500 +- 6 sigma


def test_by_class_takes_every_member_alike():
    """Over many seeds each image is as often in one part as in the other."""
    labels = np.repeat([0, 1], [6, 10])
    counts = np.zeros(16)
    for seed in range(400):
        counts[train_valid_split(labels, 0.5, BY_CLASS, seed)[0]] += 1
    assert np.abs(counts / 400 - 0.5).max() < 0.125  # 5 sigma


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    ("fraction", "part"), [(0.95, "weights"), (1e-9, "architecture")]
)
def test_empty_part(split, fraction, part):
    with pytest.raises(UserError) as caught:
        train_valid_split(LABELS[:10], fraction, split)
    assert str(caught.value) == (
        f"--data.valid-fraction: {fraction} of 10 training images leaves none for the "
        f"{part}; expected at least one for each part"
    )


SORTED = np.repeat([0, 1, 2, 3], 20)


def test_sorted_by_class():
    """By class, which is the default, each class is in both parts, half and half."""
    train, valid = train_valid_split(SORTED, 0.5)
    assert np.bincount(SORTED[train]).tolist() == [10] * 4
    assert np.bincount(SORTED[valid]).tolist() == [10] * 4


@pytest.mark.parametrize(
    ("labels", "fraction", "part", "lacking"),
    [
        (SORTED, 0.5, "weights", "classes '2', '3'"),
        (np.repeat(np.arange(10), 20), 0.5, "weights", "classes '5', '6', '7' and 2 "),
        # Two classes in common are not enough: three classes of 40 in order.
        (np.repeat([0, 1, 2], 40), 0.5, "weights", "class '2'"),
        (np.array([0, 1, 1, 2, 0, 1]), 0.3, "architecture", "class '2'"),
    ],
)
def test_file_order_refuses_a_class_that_a_part_lacks(labels, fraction, part, lacking):
    with pytest.raises(UserError) as caught:
        train_valid_split(labels, fraction, FILE_ORDER)
    start = f"--data.split: in file order the images that train the {part} have none of"
    assert str(caught.value).startswith(f"{start} {lacking}")
    assert "expected --data.split by_class" in str(caught.value)


@pytest.mark.parametrize("split", SPLITS)
def test_classes_that_no_image_has_are_no_matter(split):
    labels = np.array([0, 5, 5, 0, 5, 0, 0, 5])
    for part in train_valid_split(labels, 0.5, split):
        assert set(labels[part]) == {0, 5}


@pytest.mark.parametrize("fraction", [0.04, 0.1, 0.5, 0.9, 0.96])
@pytest.mark.parametrize("rare", [2, 3, 5])
def test_rare_classes_are_in_both_parts(fraction, rare):
    """Where shares alone would leave them out of one."""
    labels = np.concatenate([np.zeros(100, int), np.repeat([1, 2, 3], rare)])
    train, valid = train_valid_split(labels, fraction)
    assert len(train) == int((1 - fraction) * len(labels) + 1e-6)
    for part in (train, valid):
        assert set(labels[part]) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("labels", "fraction", "line"),
    [
        (
            np.array([0, 0, 0, 1, 2, 2]),
            0.5,
            "--data.split: of class 'b' there is one training image, so that one part "
            "would have none; expected two or more of each class",
        ),
        (
            np.repeat([0, 1, 2], 4),
            0.9,
            "--data.valid-fraction: leaves one part 1 images, too few for 3 classes; "
            "expected one of each class in both parts",
        ),
    ],
)
def test_by_class_refuses_what_cannot_be_divided(labels, fraction, line):
    with pytest.raises(UserError) as caught:
        train_valid_split(labels, fraction, names=("a", "b", "c"))
    assert str(caught.value) == line


@pytest.mark.parametrize("limit", [5, 17, 40, 79])
def test_a_limit_by_class_keeps_every_class(limit):
    labels = np.concatenate([SORTED, np.full(7, 9)])
    found = kept(labels, limit, BY_CLASS)
    assert len(found) == limit and (np.diff(found) > 0).all()
    counts = np.array([(labels[found] == k).sum() for k in (0, 1, 2, 3, 9)])
    exact = np.array([20, 20, 20, 20, 7]) * limit / 87
    assert (counts >= 1).all() and np.abs(counts - exact).max() < (
        2 if limit < 9 else 1
    )
    for label, count in zip((0, 1, 2, 3, 9), counts, strict=True):  # the first ones
        own = np.flatnonzero(labels == label)
        assert set(own[:count]) <= set(found)


def test_a_limit_drops_no_class_in_silence():
    with pytest.raises(
        UserError, match="--data.limit: 3 images cannot be of all 4 cla"
    ):
        kept(SORTED, 3, BY_CLASS)
    assert kept(SORTED, 61, FILE_ORDER).tolist() == list(range(61))
    with pytest.raises(UserError) as caught:
        kept(SORTED, 40, FILE_ORDER, "abcd")
    assert str(caught.value) == (
        "--data.limit: the first 40 training images have none of classes 'c', 'd'; "
        "expected --data.split by_class, which keeps some of each class, or more images"
    )
