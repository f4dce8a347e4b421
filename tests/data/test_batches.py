"""Index sampling inside a compiled step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdarts import UserError
from jdarts.data import batch_at, epoch_permutation, random_batch, steps_per_epoch

KEY = jax.random.key(5)
INDICES = jnp.arange(100, 150, dtype=jnp.int32)


def test_an_epoch_takes_each_index_at_most_once():
    @jax.jit
    def epoch(number):
        permutation = epoch_permutation(KEY, number, INDICES)
        return jax.lax.map(lambda step: batch_at(permutation, step, 8), jnp.arange(6))

    batches = np.asarray(epoch(0))
    assert batches.shape == (6, 8) and batches.dtype == np.int32
    assert len(set(batches.ravel())) == 48
    assert set(batches.ravel()) < set(INDICES.tolist())
    np.testing.assert_array_equal(batches, epoch(0))
    assert (batches != epoch(1)).any()


def test_permutation_keeps_all():
    permutation = epoch_permutation(KEY, 3, INDICES)
    assert sorted(permutation.tolist()) == INDICES.tolist()
    assert permutation.tolist() != INDICES.tolist()
    other = epoch_permutation(jax.random.key(6), 3, INDICES)
    assert permutation.tolist() != other.tolist()


def test_batch_at_takes_the_steps_part():
    assert batch_at(INDICES, 2, 7).tolist() == list(range(114, 121))


def test_random_batches():
    draw = jax.jit(lambda step: random_batch(KEY, step, INDICES, 10))
    batches = np.asarray(jax.vmap(draw)(jnp.arange(2000)))
    assert batches.dtype == np.int32
    assert all(len(set(batch)) == 10 for batch in batches.tolist())
    np.testing.assert_array_equal(draw(7), batches[7])
    # Every index in a fifth of the batches, and at each place equally often.
    often = (batches[:, :, None] == np.asarray(INDICES)).mean(0)  # [place, index]
    assert np.abs(often.sum(0) - 0.2).max() < 0.045  # 5 sigma of 2000 draws
    assert np.abs(often - 0.02).max() < 0.016
    # Independent between steps: two batches share 10 * 10 / 50 indices on average.
    pairs = zip(batches[::2], batches[1::2], strict=True)
    shared = np.mean([len(np.intersect1d(a, b)) for a, b in pairs])
    assert abs(shared - 2) < 0.2


def test_random_batch_depends_on_key_and_step():
    first = random_batch(KEY, 0, INDICES, 10).tolist()
    assert first == random_batch(KEY, 0, INDICES, 10).tolist()
    assert first != random_batch(KEY, 1, INDICES, 10).tolist()
    assert first != random_batch(jax.random.key(6), 0, INDICES, 10).tolist()


def test_random_batch_of_all():
    assert sorted(random_batch(KEY, 0, INDICES, 50).tolist()) == INDICES.tolist()


@pytest.mark.parametrize(
    ("count", "size", "steps"), [(50, 8, 6), (48, 8, 6), (8, 8, 1)]
)
def test_steps_per_epoch(count, size, steps):
    assert steps_per_epoch(count, size) == steps


@pytest.mark.parametrize("size", [0, 31])
def test_batch_size_does_not_fit(size):
    with pytest.raises(UserError) as caught:
        steps_per_epoch(30, size)
    assert str(caught.value) == (
        f"batch size: {size} for a part of 30 images; expected 1 to 30"
    )
