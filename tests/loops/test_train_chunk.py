"""Chunks and evaluations of trainings, with a trainer that notes what it is given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdarts import jit
from jdarts.data import AugmentSpec
from jdarts.loops.train_chunk import TrainData, make_train_chunk, make_train_evaluation
from jdarts.training import Scores, Trainer, TrainState

TRAIN, HELD, BATCH = 12, 7, 3
PER_EPOCH = TRAIN // BATCH
STEPS = 2 * PER_EPOCH
SPEC = AugmentSpec(mean=(0.5,), std=(0.25,), crop_padding=1, flip=True, cutout=0)
KEY = jax.random.key(7)


def data():
    """Labels are numbers of images: to train on from 0, held out from 100."""
    rng = np.random.default_rng(0)
    return TrainData(
        images=jnp.asarray(rng.integers(0, 256, (TRAIN + 4, 4, 4, 1), np.uint8)),
        labels=jnp.arange(TRAIN + 4, dtype=jnp.int32),
        train=jnp.asarray(rng.permutation(TRAIN + 4)[:TRAIN], jnp.int32),
        held_images=jnp.asarray(rng.integers(0, 256, (HELD + 3, 4, 4, 1), np.uint8)),
        held_labels=100 + jnp.arange(HELD + 3, dtype=jnp.int32),
        held=jnp.asarray(rng.permutation(HELD + 3)[:HELD], jnp.int32),
    )


def init():
    notes = {
        "labels": jnp.full((STEPS, BATCH), -1, jnp.int32),
        "images": jnp.zeros((STEPS, BATCH, 4, 4, 1)),
        "key": jnp.zeros((STEPS, 2), jnp.uint32),
    }
    return TrainState(jnp.zeros((), jnp.int32), notes, {}, {}, ())


def step(key, state, batch):
    noted = {
        "labels": batch.labels,
        "images": batch.images,
        "key": jax.random.key_data(key),
    }
    notes = {name: state.w[name].at[state.step].set(noted[name]) for name in noted}
    metrics = {"first": batch.labels[0]}
    return state._replace(step=state.step + 1, w=notes), metrics


def evaluate(state, batch, mask, sums):
    """Sums pixels and labels instead of losses and right answers."""
    return Scores(
        sums.loss + (batch.images.mean((1, 2, 3)) * mask).sum(),
        sums.correct + (batch.labels * mask).sum(),
        sums.correct5 + state.step,
        sums.count + mask.sum(),
        sums.confusion,
    )


TRAINER = Trainer(None, step, evaluate)


@pytest.fixture(scope="module")
def chunk():
    return jit(
        make_train_chunk(
            TRAINER, SPEC, None, batch_size=BATCH, steps_per_epoch=PER_EPOCH
        )
    )


def walk(chunk, counts, key=KEY):
    state = init()
    for count in counts:
        state, log = chunk(key, state, data(), np.int32(count))
        last = np.asarray(state.w["labels"])[int(state.step) - 1, 0]
        assert log["first"][count - 1] == last
    return jax.tree.map(np.asarray, state.w)


@pytest.fixture(scope="module")
def two_epochs(chunk):
    return walk(chunk, [PER_EPOCH, PER_EPOCH])


def test_an_epoch_visits_every_training_image_once(two_epochs):
    first, second = two_epochs["labels"].reshape(2, TRAIN)
    for epoch in (first, second):
        assert sorted(epoch) == sorted(np.asarray(data().train))
    assert list(first) != list(second)  # shuffled again


def test_images_are_those_of_the_labels_augmented_anew(two_epochs):
    """Cropped from a black border of one pixel, flipped or not, then normalised."""
    images = np.asarray(data().images, np.float32)[..., 0] / 255
    seen, by_place = {}, [set() for _ in range(BATCH)]
    for number in range(STEPS):
        for place, (label, found) in enumerate(
            zip(two_epochs["labels"][number], two_epochs["images"][number], strict=True)
        ):
            padded = np.pad(images[label], 1)
            crops = [
                padded[i : i + 4, j : j + 4][:, ::side]
                for i in range(3)
                for j in range(3)
                for side in (1, -1)
            ]
            near = [np.abs((c - 0.5) / 0.25 - found[..., 0]).max() for c in crops]
            assert min(near) < 1e-5
            seen.setdefault(int(label), []).append(int(np.argmin(near)))
            by_place[place].add(int(np.argmin(near)))
    assert any(a != b for a, b in seen.values())
    assert all(len(crops) > 1 for crops in by_place)  # drawn by the step, too


def test_cuts_do_not_matter_and_keys_do(chunk, two_epochs):
    found = walk(chunk, [1, 2, 1, 3, 1])
    for name, value in two_epochs.items():
        np.testing.assert_array_equal(found[name], value)
    other = walk(chunk, [PER_EPOCH], jax.random.key(8))
    for name, value in two_epochs.items():
        assert not np.array_equal(other[name][:PER_EPOCH], value[:PER_EPOCH])
    assert len({tuple(key) for key in two_epochs["key"]}) == 1  # the run's, for all


@pytest.mark.parametrize("cuts", [[3], [1, 2]])
def test_evaluation_reads_every_held_out_image_once(cuts):
    """7 images in batches of 3: the last batch is padded, and the padding masked."""
    given, start = data(), 0
    total = Scores.zero(2, jnp.float32)
    made = jit(make_train_evaluation(TRAINER, SPEC, None, batch_size=BATCH, classes=2))
    for count in cuts:
        part = made(init(), given, jnp.int32(start), jnp.int32(count))
        total = jax.tree.map(jnp.add, total, part)
        start += count
    held = np.asarray(given.held)
    assert int(total.count) == HELD
    assert int(total.correct) == int((100 + held).sum())
    pixels = np.asarray(given.held_images)[held] / 255
    expected = ((pixels - 0.5) / 0.25).mean((1, 2, 3)).sum()
    np.testing.assert_allclose(float(total.loss), expected, rtol=1e-5)
