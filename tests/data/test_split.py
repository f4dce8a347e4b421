"""The division of the training images."""

import numpy as np
import pytest

from jdarts.data import train_valid_split
from jdarts.errors import UserError

LABELS = np.random.default_rng(0).integers(0, 7, 1000)


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.613])
@pytest.mark.parametrize("stratified", [False, True])
def test_parts_are_disjoint_ascending_and_cover_all(fraction, stratified):
    train, valid = train_valid_split(LABELS, fraction, stratified, seed=3)
    assert train.dtype == valid.dtype == np.int32
    assert len(train) == int(np.floor((1 - fraction) * 1000))
    np.testing.assert_array_equal(np.union1d(train, valid), np.arange(1000))
    assert len(train) + len(valid) == 1000
    assert (np.diff(train) > 0).all() and (np.diff(valid) > 0).all()


def test_file_order():
    train, valid = train_valid_split(LABELS[:10], 0.3)
    assert train.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert valid.tolist() == [7, 8, 9]


@pytest.mark.parametrize("count", [10, 100, 1000, 50_000])
@pytest.mark.parametrize("percent", [10, 20, 30, 35, 70, 90])
def test_exact_fractions_are_not_rounded_down(count, percent):
    """(1 - 0.9) * 10 is just below 1 in floating point."""
    labels = np.zeros(count, int)
    train, _ = train_valid_split(labels, percent / 100)
    assert len(train) == (100 - percent) * count // 100


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.613])
def test_stratified_shares(fraction):
    train, _ = train_valid_split(LABELS, fraction, True)
    exact = np.bincount(LABELS) * (len(train) / 1000)
    assert np.abs(np.bincount(LABELS[train]) - exact).max() < 1
    plain, _ = train_valid_split(LABELS, fraction)
    assert np.abs(np.bincount(LABELS[plain]) - exact).max() > 1


def test_stratified_is_shuffled_by_its_seed():
    parts = [train_valid_split(LABELS, 0.5, True, seed)[0] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(parts[0], parts[1])
    assert 150 < len(np.intersect1d(parts[0], parts[2])) < 350  # half of 500 +- 6 sigma


def test_stratified_takes_every_member_alike():
    """Over many seeds each image is as often in one part as in the other."""
    labels = np.repeat([0, 1], [6, 10])
    counts = np.zeros(16)
    for seed in range(400):
        counts[train_valid_split(labels, 0.5, True, seed)[0]] += 1
    assert np.abs(counts / 400 - 0.5).max() < 0.125  # 5 sigma


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize(
    ("fraction", "part"), [(0.95, "weights"), (1e-9, "architecture")]
)
def test_empty_part(stratified, fraction, part):
    with pytest.raises(UserError) as caught:
        train_valid_split(LABELS[:10], fraction, stratified)
    assert str(caught.value) == (
        f"--data.valid-fraction: {fraction} of 10 training images leaves none for the "
        f"{part}; expected at least one for each part"
    )


def test_sorted_by_class():
    labels = np.repeat([0, 1, 2, 3], 20)
    with pytest.raises(UserError) as caught:
        train_valid_split(labels, 0.5)
    assert str(caught.value) == (
        "--data.stratified: not set, and the training images are sorted by class: no "
        "class would be in both the weights' and the architecture's part; expected "
        "--data.stratified, or images in mixed order"
    )
    train, valid = train_valid_split(labels, 0.5, stratified=True)
    assert np.bincount(labels[train]).tolist() == [10] * 4
    assert np.bincount(labels[valid]).tolist() == [10] * 4


def test_few_images_may_be_disjoint_by_chance():
    train, valid = train_valid_split(np.array([0, 0, 1, 1]), 0.5)
    assert train.tolist() == [0, 1] and valid.tolist() == [2, 3]
