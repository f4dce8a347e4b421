"""Columns and segments of texts, and what counting achieves on them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close

from jdarts import UserError
from jdarts.data import Lengths, baselines, columns, segment_at


def test_columns():
    table = columns(np.arange(11, dtype=np.int32), 3, 2, "x")
    assert table.tolist() == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    with pytest.raises(UserError, match="train part: 11 tokens make 4 columns of 2"):
        columns(np.arange(11, dtype=np.int32), 4, 3, "train part")


def test_segment_and_its_targets():
    table = jnp.asarray(columns(np.arange(20, dtype=np.int32), 2, 2, "x"))
    found = jax.jit(segment_at, static_argnums=3)(table, 3, 2, 4)
    assert found.tokens.tolist() == [[3, 13], [4, 14], [5, 15], [6, 16]]
    assert found.targets.tolist() == [[4, 14], [5, 15], [6, 16], [7, 17]]
    assert found.length == 2
    late = segment_at(table, 8, 4, 4)  # would go over the end
    assert late.targets[-1].tolist() == [9, 19]


def test_lengths():
    """The published search's: 35, or 17 in 5 % of the steps."""
    lengths = Lengths(35)
    found = np.asarray(jax.vmap(lengths.at)(jnp.arange(4000)))
    assert set(found.tolist()) == {35, 17} and lengths.longest == 35
    assert 0.035 < np.mean(found == 17) < 0.065
    assert_close(lengths.rate(7), found[7] / 35, 1e-6)
    starts = lengths.starts(jnp.int32(5), 6)
    assert starts.tolist() == [0, *np.cumsum(found[5:10]).tolist()]
    assert lengths.per_epoch(1 + 34100) == 1000  # 0.95 x 35 + 0.05 x 17


def test_lengths_with_a_deviation():
    lengths = Lengths(35, deviation=5.0)
    found = np.asarray(jax.vmap(lengths.at)(jnp.arange(4000)))
    usual = np.asarray(jax.vmap(lengths._replace(halved=0.0).at)(jnp.arange(4000)))
    assert abs(usual.mean() - 34.5) < 0.3 and abs(usual.std() - 5) < 0.3
    assert 0.04 < np.mean(found != usual) < 0.06
    assert found.min() >= 5 and found.max() <= lengths.longest == 55
    # An epoch comes to the end of the text: on average, within half a percent.
    assert abs(lengths.per_epoch(1 + int(found.sum())) - len(found)) < 20


def test_baselines_by_hand():
    train, held = np.array([0, 1, 0, 1, 0, 2]), np.array([0, 1, 0, 2, 1])
    found = baselines(train, held, 4)
    p = np.array([4, 3, 2, 1]) / 10
    # After 0: twice 1, once 2, of 3; after 1: twice 0, of 2; after 2: nothing.
    after0 = [(1.25 + 1.5 * p[1]) / 3, (0.25 + 1.5 * p[2]) / 3]
    after1, after2 = (1.25 + 0.75 * p[0]) / 2, p[1]
    bigram = [after0[0], after1, after0[1], after2]
    assert_close(found.unigram, np.exp(-np.log(p[[1, 0, 2, 1]]).mean()), 1e-12)
    assert_close(found.bigram, np.exp(-np.log(bigram).mean()), 1e-12)
    assert found.majority == 1 / 4


def test_bigrams_are_probabilities():
    random = np.random.default_rng(0)
    train = random.integers(5, size=200)
    total = 0.0
    for token in range(6):  # the sum over all that can follow a 3
        total += 1 / baselines(train, np.array([3, token]), 6).bigram
    assert_close(total, 1.0, 1e-12)
