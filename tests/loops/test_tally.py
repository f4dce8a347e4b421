"""Counts by class: from a confusion matrix, added up, written and read."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdarts import Batch, FixedNetwork, Outputs, UserError
from jdarts.loops.tally import Tally
from jdarts.reports.classes import classes
from jdarts.training import Scores, TrainOptimizer, TrainSettings, make_trainer

NAMES = ("ant", "bee", "cat")
MATRIX = np.array([[5, 1, 0], [4, 2, 0], [0, 3, 0]])


def test_of_a_matrix():
    tally = Tally.of(MATRIX.astype(np.float32), NAMES)
    assert tally.images == (6, 6, 3) and tally.correct == (5, 2, 0)
    assert tally.confusions == ((1, 0, 4), (2, 1, 3), (0, 1, 1))
    assert tally.worst == [2, 1, 0]
    assert tally.text == (
        "lowest accuracy by class: cat 0.00 % (0 of 3), bee 33.33 % (2 of 6), ant "
        "83.33 % (5 of 6); most often confused: bee taken for ant (4)"
    )
    assert Tally.of(np.diag([3, 0, 2]), NAMES).text == ""
    assert Tally.from_json(json.loads(json.dumps(tally.to_json())), "x") == tally


def test_sum():
    one, other = np.random.default_rng(0).integers(0, 9, (2, 3, 3))
    tallies = [Tally.of(matrix, NAMES) for matrix in (one, other)]
    assert tallies[0].plus(tallies[1]) == Tally.of(one + other, NAMES)


def test_bounded_for_many_classes():
    """The most frequent ones are kept."""
    matrix = np.random.default_rng(0).integers(0, 100, (200, 200))
    tally = Tally.of(matrix, [str(i) for i in range(200)])
    assert len(tally.confusions) == 1000
    wrong = matrix - np.diag(np.diag(matrix))
    counts = np.sort(wrong.ravel())[::-1][:1000]
    assert [n for *_, n in tally.confusions] == counts.tolist()
    assert all(wrong[t, p] == n for t, p, n in tally.confusions)
    assert tally.images == tuple(matrix.sum(1).tolist())


def test_of_two_columns():
    """Which image was taken for which class was not counted."""
    names = [str(i) for i in range(1500)]
    counts = np.zeros((1500, 2), np.float32)
    counts[3], counts[7], counts[1499] = (2, 1), (1, 3), (0, 5)
    tally = Tally.of(counts, names)
    assert (sum(tally.images), sum(tally.correct)) == (12, 9)
    assert (
        tally.images[7] == 4 and tally.correct[7] == 3 and tally.worst == [3, 7, 1499]
    )
    assert tally.confusions is None
    assert tally.text == (
        "lowest accuracy by class: 3 33.33 % (1 of 3), 7 75.00 % (3 of 4)"
    )
    assert Tally.from_json(json.loads(json.dumps(tally.to_json())), "x") == tally
    assert tally.plus(tally) == Tally.of(2 * counts, names)
    assert "not counted for so many classes" in classes([tally, tally])


@pytest.mark.parametrize(
    "change",
    [
        {"names": []},
        {"names": ["a", "b", 3]},
        {"names": ["a"]},
        {"images": [1, 2]},
        {"images": [6, 6, "3"]},
        {"images": [6, 6, -3]},
        {"images": None},
        {"correct": [7, 0, 0]},
        {"correct": [0.5, 0, 0]},
        {"confusions": [[0, 3, 1]]},
        {"confusions": [[0, 1]]},
        {"confusions": [[0, 1, True]]},
        {"confusions": 3},
    ],
    ids=str,
)
def test_damaged(change):
    data = Tally.of(MATRIX, NAMES).to_json() | change
    with pytest.raises(UserError, match="file: not counts of classes"):
        Tally.from_json(data, "file")


def test_the_evaluation_counts_each_image_once():
    """Against a count one by one; a tie, and a NaN, is a mistake there, too."""
    generator = np.random.default_rng(1)
    logits = generator.normal(size=(12, 4)).astype(np.float32)
    labels = generator.integers(0, 4, 12)
    logits[0, :] = 1.0
    logits[1, labels[1]] = np.nan
    mask = np.array([1.0] * 10 + [0.0] * 2)

    def apply(w, state, images, train, *rest):
        return Outputs(images, None), state

    network = FixedNetwork(lambda key, images: ({}, {}), apply)
    settings = TrainSettings(
        optimizer=TrainOptimizer(),
        epochs=1,
        auxiliary_weight=0.0,
        drop_path=0.0,
        label_smoothing=0.0,
        average_decay=0.0,
    )
    trainer = make_trainer(network, settings, 1)
    batch = Batch(jnp.asarray(logits), jnp.asarray(labels))
    state = trainer.init(jax.random.key(0), batch.images)
    zero = Scores.zero(4, np.float32)
    found = trainer.evaluate(state, batch, jnp.asarray(mask), zero)
    matrix = np.asarray(found.confusion)
    assert matrix.shape == (4, 4) and np.trace(matrix) == found.correct
    expected = np.zeros((4, 4))
    for i in range(10):
        others = [k for k in range(4) if k != labels[i]]
        best = max(others, key=lambda k: logits[i, k])
        right = all(logits[i, labels[i]] > logits[i, k] for k in others)
        expected[labels[i], labels[i] if right else best] += 1
    np.testing.assert_array_equal(matrix, expected)
    assert jax.tree.map(jnp.shape, zero) == jax.tree.map(jnp.shape, found)
    twice = trainer.evaluate(state, batch, jnp.asarray(mask), found)
    jax.tree.map(lambda t, f: np.testing.assert_allclose(t, 2 * f), twice, found)

    many = Batch(jnp.pad(batch.images, ((0, 0), (0, 1500)), "minimum"), batch.labels)
    zero = Scores.zero(1504, np.float32)
    found = trainer.evaluate(state, many, jnp.asarray(mask), zero)
    assert found.confusion.shape == zero.confusion.shape == (1504, 2)
    right = np.diag(expected)
    columns = np.stack([expected.sum(1) - right, right], axis=1)
    np.testing.assert_array_equal(found.confusion[:4], columns)
    assert not found.confusion[4:].any()
