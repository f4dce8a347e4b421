"""Chunks and validation with a method that only notes what it was given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdarts import Arch, SearchMethod, SearchState, jit
from jdarts.data import AugmentSpec
from jdarts.loops.chunk import MAX_STEPS, DeviceData, make_chunk, make_evaluation
from jdarts.problem import Evaluation
from jdarts.sharding import make_mesh, replicated

TRAIN, VALID, BATCH, AHEAD = 12, 7, 3, 2
PER_EPOCH = TRAIN // BATCH
STEPS = 2 * PER_EPOCH
SPEC = AugmentSpec(mean=(0.5,), std=(0.25,), crop_padding=1, flip=True, cutout=0)
KEY = jax.random.key(7)


def data():
    """Every label is the number of its image, so that it tells what was drawn."""
    rng = np.random.default_rng(0)
    total = TRAIN + VALID
    indices = rng.permutation(total).astype(np.int32)
    return DeviceData(
        images=jnp.asarray(rng.integers(0, 256, (total, 4, 4, 1), np.uint8)),
        labels=jnp.arange(total, dtype=jnp.int32),
        train=jnp.asarray(indices[:TRAIN]),
        valid=jnp.asarray(indices[TRAIN:]),
    )


def init():
    notes = {
        "train": jnp.full((STEPS, AHEAD, BATCH), -1, jnp.int32),
        "valid": jnp.full((STEPS, BATCH), -1, jnp.int32),
        "images": jnp.zeros((STEPS, AHEAD, BATCH, 4, 4, 1)),
        "valid_images": jnp.zeros((STEPS, BATCH, 4, 4, 1)),
        "key": jnp.zeros((STEPS, 2), jnp.uint32),
    }
    return SearchState(jnp.zeros((), jnp.int32), notes, {}, Arch({}, {}), {}, {})


def step(key, state, batches):
    noted = {
        "train": batches.train.labels,
        "valid": batches.valid.labels,
        "images": batches.train.images,
        "valid_images": batches.valid.images,
        "key": jax.random.key_data(jax.random.fold_in(key, state.step)),
    }
    notes = {name: state.w[name].at[state.step].set(noted[name]) for name in noted}
    metrics = {"first": batches.train.labels[0, 0], "mean": batches.valid.images.mean()}
    return state._replace(step=state.step + 1, w=notes), metrics


def evaluate(state, batch, mask):
    """Sums the labels and the pixels instead of losses."""
    labels = (batch.labels * mask).sum()
    return Evaluation((batch.images.mean((1, 2, 3)) * mask).sum(), labels, mask.sum())


METHOD = SearchMethod(init, step, None, evaluate, None, train_batches=AHEAD)


@pytest.fixture(scope="module")
def chunk():
    made = make_chunk(
        METHOD, SPEC, make_mesh(), batch_size=BATCH, steps_per_epoch=PER_EPOCH
    )
    return jit(made, out_shardings=replicated(make_mesh()))


def walk(chunk, counts, key=KEY):
    """(state, metrics) after chunks of these lengths."""
    given = jax.device_put((key, data()), replicated(make_mesh()))
    state, logs = jax.device_put(init(), replicated(make_mesh())), []
    for count in counts:
        state, log = chunk(given[0], state, given[1], np.int32(count))
        logs.append({name: np.asarray(v)[:count] for name, v in log.items()})
    return state, {name: np.concatenate([g[name] for g in logs]) for name in logs[0]}


@pytest.fixture(scope="module")
def two_epochs(chunk):
    return walk(chunk, [PER_EPOCH, PER_EPOCH])


@pytest.mark.parametrize("counts", [[1, 2, 1, 3, 1], [1] * STEPS])
def test_results_do_not_depend_on_the_cuts(chunk, two_epochs, counts):
    found, expected = jax.tree.leaves(walk(chunk, counts)), jax.tree.leaves(two_epochs)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_compilation_for_all_lengths(chunk):
    for count in (1, 2, 3, 4):
        walk(chunk, [count])
    assert chunk._cache_size() == 1


def test_an_epoch_visits_every_training_image_once(two_epochs):
    state, _ = two_epochs
    first = np.asarray(state.w["train"])[:, 0].reshape(2, TRAIN)
    for epoch in first:
        assert sorted(epoch) == sorted(np.asarray(data().train))
    assert list(first[0]) != list(first[1])  # shuffled again


def test_virtual_steps_read_the_batches_to_come(two_epochs):
    drawn = np.asarray(two_epochs[0].w["train"])
    for number in range(STEPS):
        in_epoch = (number + 1) % PER_EPOCH
        following = number - number % PER_EPOCH + in_epoch
        np.testing.assert_array_equal(drawn[number, 1], drawn[following, 0])


def test_validation_batches_come_from_the_other_half(two_epochs):
    valid = np.asarray(two_epochs[0].w["valid"])
    assert set(valid.ravel()) <= set(np.asarray(data().valid).tolist())
    assert all(len(set(batch)) == BATCH for batch in valid)
    assert len({tuple(batch) for batch in valid}) > 1


def test_every_step_augments_anew(two_epochs):
    images = np.asarray(two_epochs[0].w["images"])
    drawn = np.asarray(two_epochs[0].w["train"])
    image = drawn[0, 0, 0]
    later = next(i for i in range(PER_EPOCH, STEPS) if image in drawn[i, 0])
    place = list(drawn[later, 0]).index(image)
    assert not np.array_equal(images[0, 0, 0], images[later, 0, place])


def test_every_validation_batch_is_augmented_anew(two_epochs):
    """An image that comes twice at the same place of its batch."""
    notes = two_epochs[0].w
    images, drawn = np.asarray(notes["valid_images"]), np.asarray(notes["valid"])
    pairs = [
        (images[i, place], images[j, place])
        for place in range(BATCH)
        for i in range(STEPS)
        for j in range(i)
        if drawn[i, place] == drawn[j, place]
    ]
    assert len(pairs) >= BATCH  # 8 draws of 7 images
    assert any(not np.array_equal(a, b) for a, b in pairs)


def test_the_key_is_the_runs_own(chunk, two_epochs):
    keys = np.asarray(two_epochs[0].w["key"])
    assert len({tuple(key) for key in keys}) == STEPS
    other, _ = walk(chunk, [PER_EPOCH], jax.random.key(8))
    for name in ("train", "valid", "images", "key"):
        assert not np.array_equal(
            other.w[name][:PER_EPOCH], two_epochs[0].w[name][:PER_EPOCH]
        )


def test_metrics_come_in_the_order_of_the_steps(chunk, two_epochs):
    state, log = two_epochs
    np.testing.assert_array_equal(log["first"], np.asarray(state.w["train"])[:, 0, 0])
    _, buffer = chunk(KEY, init(), data(), np.int32(1))
    assert {v.shape for v in buffer.values()} == {(MAX_STEPS,)}


@pytest.mark.parametrize("cuts", [[3], [1, 2]])
def test_validation_reads_every_image_once(cuts):
    """7 images in batches of 3: the last batch is padded, and the padding masked."""
    given, start, total = data(), 0, None
    made = make_evaluation(METHOD, SPEC, make_mesh(), batch_size=BATCH)
    evaluation = jit(made)
    for count in cuts:
        part = evaluation(init(), given, jnp.int32(start), jnp.int32(count))
        total = part if total is None else jax.tree.map(jnp.add, total, part)
        start += count
    assert int(total.count) == VALID
    assert int(total.correct) == int(given.valid.sum())
    pixels = np.asarray(given.images)[np.asarray(given.valid)] / 255
    expected = ((pixels - 0.5) / 0.25).mean((1, 2, 3)).sum()
    np.testing.assert_allclose(float(total.loss), expected, rtol=1e-5)
