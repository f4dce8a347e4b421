"""Dividing the training images: one part for the weights, one for the architecture.

By class every class is in both parts; in file order the first images are in one part,
as in the code of the published searches.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int32

from jdarts.errors import UserError, some

__all__ = ["BY_CLASS", "FILE_ORDER", "SPLITS", "kept", "train_valid_split"]

BY_CLASS, FILE_ORDER = "by_class", "file_order"
SPLITS = (BY_CLASS, FILE_ORDER)
"""How training images are divided, and which ones ``--data.limit`` keeps."""


def train_valid_split(
    labels: Int[np.ndarray, " n"],
    valid_fraction: float,
    split: str = BY_CLASS,
    seed: int = 0,
    names: Sequence[str] = (),
) -> tuple[Int32[np.ndarray, " train"], Int32[np.ndarray, " valid"]]:
    """Indices of the images that train the weights, and of those that train alpha.

    The weights get ``floor((1 - valid_fraction) * n)`` images. By class, each class is
    shuffled and divided in proportion: no class is off its exact share by a whole
    image, but that both parts have each class. In file order they are the first
    images, as in the reference.

    Args:
      labels: class of each training image.
      valid_fraction: share of the images that trains the architecture, in (0, 1).
      split: one of SPLITS.
      seed: of the shuffle; without effect in file order.
      names: of the classes, for errors; empty: their numbers.

    Returns:
      Two disjoint ascending index arrays that cover all images.

    Raises:
      UserError: if a part would be empty, or would lack a class.
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
    classes, sizes = np.unique(labels, return_counts=True)
    called = [names[label] if names else str(label) for label in classes]
    if split == BY_CLASS:
        _check_rare(sizes, called, train_count)
        shares = _shares(sizes, train_count, 1, sizes - 1)
        rng = np.random.default_rng(seed)
        in_train = np.zeros(count, bool)
        for label, share in zip(classes, shares, strict=True):
            members = np.flatnonzero(labels == label)
            in_train[rng.permutation(members)[:share]] = True
    else:
        in_train = np.arange(count) < train_count
        _check_lacking(labels, in_train, classes, called)
    return (
        np.flatnonzero(in_train).astype(np.int32),
        np.flatnonzero(~in_train).astype(np.int32),
    )


def kept(
    labels: Int[np.ndarray, " n"],
    limit: int,
    split: str,
    names: Sequence[str] = (),
) -> Int32[np.ndarray, " limit"]:
    """Indices of the images that ``--data.limit`` keeps, ascending.

    Args:
      labels: class of each training image, at least `limit`.
      limit: how many are kept.
      split: one of SPLITS; by class each class keeps its share, in proportion, of its
        first images; in file order the first images of all are kept.
      names: of the classes, for errors; empty: their numbers.

    Raises:
      UserError: if a class would lose all its images.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    if split == BY_CLASS:
        if limit < len(classes):
            raise UserError(
                f"--data.limit: {limit} images cannot be of all {len(classes)} classes "
                f"of the training images; expected at least {len(classes)}"
            )
        shares = _shares(sizes, limit, 1, sizes)
        firsts = [
            np.flatnonzero(labels == label)[:share]
            for label, share in zip(classes, shares, strict=True)
        ]
        return np.sort(np.concatenate(firsts)).astype(np.int32)
    lost = np.setdiff1d(classes, labels[:limit])
    if lost.size:
        called = [names[label] if names else str(label) for label in lost]
        raise UserError(
            f"--data.limit: the first {limit} training images have none of "
            f"{_called(called)}; expected --data.split by_class, which keeps some of "
            "each class, or more images"
        )
    return np.arange(limit, dtype=np.int32)


def _shares(
    sizes: np.ndarray, total: int, least: int, most: np.ndarray
) -> Int[np.ndarray, " classes"]:
    """How many of each class: proportional, by largest remainder, within bounds.

    Args:
      sizes: images of each class.
      total: how many in all; within the sums of the bounds.
      least: of each class.
      most: of each class.
    """
    exact = sizes * (total / sizes.sum())
    shares = np.clip(np.floor(exact + 1e-9).astype(int), least, most)
    while (missing := total - shares.sum()) != 0:
        step = int(np.sign(missing))
        open_ones = shares < most if step > 0 else shares > least
        distance = np.where(open_ones, step * (exact - shares), -np.inf)
        first = np.argsort(-distance, kind="stable")[
            : min(abs(missing), open_ones.sum())
        ]
        shares[first] += step
    return shares


def _check_rare(sizes: np.ndarray, called: list[str], train_count: int) -> None:
    """Raises unless both parts can have an image of each class."""
    single = [name for name, size in zip(called, sizes, strict=True) if size < 2]
    if single:
        raise UserError(
            f"--data.split: of {_called(single)} there is one training image, so that "
            "one part would have none; expected two or more of each class"
        )
    smaller = min(train_count, sizes.sum() - train_count)
    if smaller < len(sizes):
        raise UserError(
            f"--data.valid-fraction: leaves one part {smaller} images, too few for "
            f"{len(sizes)} classes; expected one of each class in both parts"
        )


def _check_lacking(
    labels: np.ndarray, in_train: np.ndarray, classes: np.ndarray, called: list[str]
) -> None:
    """Raises if a part of a division in file order lacks a class."""
    for part, own in (("weights", in_train), ("architecture", ~in_train)):
        has = np.isin(classes, labels[own])
        if not has.all():
            lacking = [
                name for name, there in zip(called, has, strict=True) if not there
            ]
            raise UserError(
                f"--data.split: in file order the images that train the {part} have "
                f"none of {_called(lacking)}; expected --data.split by_class, or "
                "images in mixed order"
            )


def _called(names: Sequence[str]) -> str:
    """The classes in words, the first ones of many."""
    what = "class" if len(names) == 1 else "classes"
    quoted = [f"'{name}'" for name in names]
    return f"{what} " + some(quoted, 3)
