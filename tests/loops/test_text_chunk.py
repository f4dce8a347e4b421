"""Chunks of text searches, on a method that only notes what it reads.

Tokens name their text and their row: the training text from 1,000, the validation text
from 5,000, the held part from 9,000.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdarts import Arch, SearchMethod, SearchState, jit
from jdarts.data import Lengths
from jdarts.loops.text_chunk import TextData, make_text_chunk, make_text_evaluation
from jdarts.problem import Evaluation

LENGTHS = Lengths(base=8, halved=0.5)
PER_EPOCH, AHEAD, COLUMNS, VALID_ROWS = 5, 2, 3, 22
STEPS = 2 * PER_EPOCH
KEY = jax.random.key(1)


def rows(first, count):
    """Every column names its row, and is told apart by the 100,000s."""
    tokens = first + np.arange(count)[:, None] + 100_000 * np.arange(COLUMNS)
    return jnp.asarray(tokens, jnp.int32)


DATA = TextData(rows(1000, 60), rows(5000, VALID_ROWS), rows(9000, 20))


def init():
    longest = LENGTHS.longest
    notes = {
        "train": jnp.zeros((STEPS, AHEAD, longest, COLUMNS), jnp.int32),
        "train_targets": jnp.zeros((STEPS, AHEAD, longest, COLUMNS), jnp.int32),
        "train_length": jnp.zeros((STEPS, AHEAD), jnp.int32),
        "train_fresh": jnp.zeros((STEPS, AHEAD), bool),
        "valid": jnp.zeros((STEPS, longest, COLUMNS), jnp.int32),
        "valid_targets": jnp.zeros((STEPS, longest, COLUMNS), jnp.int32),
        "valid_length": jnp.zeros((STEPS,), jnp.int32),
        "valid_fresh": jnp.zeros((STEPS,), bool),
        "key": jnp.zeros((STEPS, 2), jnp.uint32),
    }
    return SearchState(jnp.zeros((), jnp.int32), notes, {}, Arch({}, {}), {}, ())


def step(key, state, batches):
    noted = {"key": jax.random.key_data(key)}
    for name, segment in (("train", batches.train), ("valid", batches.valid)):
        noted |= {
            name: segment.tokens,
            f"{name}_targets": segment.targets,
            f"{name}_length": segment.length,
            f"{name}_fresh": segment.fresh,
        }
    notes = {name: state.w[name].at[state.step].set(noted[name]) for name in noted}
    return state._replace(step=state.step + 1, w=notes), {"step": state.step}


METHOD = SearchMethod(None, step, None, None, None, train_batches=AHEAD)


@pytest.fixture(scope="module")
def chunk():
    return jit(make_text_chunk(METHOD, LENGTHS, None, steps_per_epoch=PER_EPOCH))


def walk(chunk, counts):
    state = init()
    for count in counts:
        state, _ = chunk(KEY, state, DATA, np.int32(count))
    return jax.tree.map(np.asarray, state.w)


@pytest.fixture(scope="module")
def noted(chunk):
    return walk(chunk, [PER_EPOCH, PER_EPOCH])


def lengths():
    found = [int(LENGTHS.at(step)) for step in range(STEPS)]
    assert set(found) == {8, 5}  # half of 8, but at least 5
    return found


def test_weights_read_the_training_text_in_order(noted):
    for step in range(STEPS):
        first = step - step % PER_EPOCH
        for ahead in range(AHEAD):
            number = (step - first + ahead) % PER_EPOCH
            start = sum(lengths()[first : first + number])
            expected = rows(1000 + start, LENGTHS.longest + 1)
            np.testing.assert_array_equal(noted["train"][step, ahead], expected[:-1])
            found = noted["train_targets"][step, ahead]
            np.testing.assert_array_equal(found, expected[1:])
            assert noted["train_length"][step, ahead] == lengths()[first + number]
            assert noted["train_fresh"][step, ahead] == (number == 0)


def test_the_architecture_reads_the_validation_text(noted):
    """From the same rows on; from its end it goes on at its beginning."""
    wrapped = 0
    for step in range(STEPS):
        first = step - step % PER_EPOCH
        start = sum(lengths()[first:step])
        wrapped += start >= VALID_ROWS - LENGTHS.longest
        place = start % (VALID_ROWS - LENGTHS.longest)
        expected = rows(5000 + place, LENGTHS.longest + 1)
        np.testing.assert_array_equal(noted["valid"][step], expected[:-1])
        np.testing.assert_array_equal(noted["valid_targets"][step], expected[1:])
        assert noted["valid_length"][step] == lengths()[step]
        assert noted["valid_fresh"][step] == (step == first)
    assert wrapped


def test_cuts_do_not_matter(chunk, noted):
    found = walk(chunk, [1, 3, 1, 2, 3])
    for name, value in noted.items():
        np.testing.assert_array_equal(found[name], value)
    assert {tuple(key) for key in noted["key"]} == {
        tuple(np.asarray(jax.random.key_data(KEY)))
    }


def test_evaluation_reads_the_held_part_once():
    """17 rows that are text, in segments of 5: 16 targets, then zeros."""
    text, length = 17, 5
    held = rows(9000, text)
    filled = jnp.concatenate([held, jnp.zeros((4, COLUMNS), jnp.int32)])

    def evaluate(state, passage, mask):
        """Sums tokens and targets instead of losses, and counts segments."""
        tokens, targets, count, _ = passage.segment
        counts = mask * (jnp.arange(length) < count)[:, None]
        found = (tokens * counts).sum(), (targets * counts).sum(), counts.sum()
        return Evaluation(*found), passage.hidden + 1 + 0 * state

    made = jit(make_text_evaluation(evaluate, units=2, length=length, rows=text))
    data = DATA._replace(held=filled)
    found = made(jnp.zeros(()), data, jnp.int32(0), jnp.int32(0))
    assert int(found.count) == COLUMNS * (text - 1)
    np.testing.assert_allclose(float(found.loss), int(held[:-1].sum()), rtol=1e-6)
    np.testing.assert_allclose(float(found.correct), int(held[1:].sum()), rtol=1e-6)
