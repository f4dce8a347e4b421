"""Dividing the training images: one part for the weights, one for the architecture."""

import math

import numpy as np
from jaxtyping import Int, Int32

from jdarts.errors import UserError

__all__ = ["train_valid_split"]


def train_valid_split(
    labels: Int[np.ndarray, " n"],
    valid_fraction: float,
    stratified: bool = False,
    seed: int = 0,
) -> tuple[Int32[np.ndarray, " train"], Int32[np.ndarray, " valid"]]:
    """Indices of the images that train the weights, and of those that train alpha.

    The weights get the first ``floor((1 - valid_fraction) * n)`` images in file order,
    as in the reference. Stratified, each class is shuffled and divided in proportion;
    the totals are the same, and no class is off its exact share by a whole image.

    Args:
      labels: class of each training image.
      valid_fraction: share of the images that trains the architecture, in (0, 1).
      stratified: whether to divide every class alike.
      seed: of the shuffle; without effect unless stratified.

    Returns:
      Two disjoint ascending index arrays that cover all images.

    Raises:
      UserError: if a part would be empty, or the file is sorted by class, so that no
        class would be in both parts.
    """
    count = len(labels)
    # The slack keeps (1 - 0.9) * 10 = 0.9999999999999998 from becoming 0.
    train_count = math.floor((1 - valid_fraction) * count + 1e-6)
    if not 0 < train_count < count:
        empty = "architecture" if train_count else "weights"
        raise UserError(
            f"--data.valid-fraction: {valid_fraction} of {count} training images "
            f"leaves none for the {empty}; expected at least one for each part"
        )
    if stratified:
        in_train = _stratified(labels, train_count, seed)
    else:
        in_train = np.arange(count) < train_count
        _check_not_sorted(labels, in_train)
    return (
        np.flatnonzero(in_train).astype(np.int32),
        np.flatnonzero(~in_train).astype(np.int32),
    )


def _stratified(labels: np.ndarray, train_count: int, seed: int) -> np.ndarray:
    """Mask of the training part: `train_count` images by largest remainder."""
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    exact = np.array([len(m) for m in members]) * (train_count / len(labels))
    sizes = np.floor(exact + 1e-9).astype(int)
    by_remainder = np.argsort(sizes - exact, kind="stable")
    sizes[by_remainder[: train_count - sizes.sum()]] += 1
    in_train = np.zeros(len(labels), bool)
    for indices, size in zip(members, sizes, strict=True):
        in_train[rng.permutation(indices)[:size]] = True
    return in_train


def _check_not_sorted(labels: np.ndarray, in_train: np.ndarray) -> None:
    """Raises if the parts have no class in common and are too big for it by chance."""
    smaller = min(in_train.sum(), (~in_train).sum())
    common = np.intersect1d(labels[in_train], labels[~in_train])
    if common.size == 0 and smaller >= 10 * len(np.unique(labels)):
        raise UserError(
            "--data.stratified: not set, and the training images are sorted by class: "
            "no class would be in both the weights' and the architecture's part; "
            "expected --data.stratified, or images in mixed order"
        )
