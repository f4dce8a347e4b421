"""Against closed forms, scipy, and simulated experiments whose truth is known."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from jdarts.statistics import (
    compare,
    difference_interval,
    effect_size,
    mean_deviation,
    mean_interval,
    permutation_test,
    smallest_p,
    summarise,
)


def experiment(rng, n=4, k=3, m=3, better=0.0, between=1.0, within=0.5):
    """Searches and random genotypes with known deviations of genotypes and runs."""

    def genotypes(mean, *shape):
        means = rng.normal(mean, between, (*shape, 1))
        return means + rng.normal(0, within, (*shape, m))

    return genotypes(better, n), genotypes(0.0, n, k)


def test_mean_and_deviation():
    assert mean_deviation([1.0, 3.0]) == (2.0, math.sqrt(2.0))
    assert mean_deviation([0.7]) == (0.7, None)


def test_summary_by_hand():
    found = summarise(np.array([[1.0, 3.0], [4.0, 4.0], [6.0, 8.0]]))
    assert found.mean == pytest.approx((2 + 4 + 7) / 3)
    assert found.between == pytest.approx(np.std([2, 4, 7], ddof=1))
    assert found.within == pytest.approx(math.sqrt((2 + 0 + 2) / 3))
    assert found.interval is None
    assert found.count == 3
    alone = summarise(np.array([[0.5]]))
    assert (alone.between, alone.within, alone.interval) == (None, None, None)


def test_summary_of_equal_networks_by_hand():
    """They count once for deviations, and as often as they were found for the mean."""
    samples = np.array([[1.0, 3.0], [4.0, 4.0], [1.0, 3.0]])
    found = summarise(samples, 0, ["a", "b", "a"])
    assert found.count == 2
    assert found.mean == pytest.approx((2 + 4 + 2) / 3)
    assert found.between == pytest.approx(np.std([2, 4], ddof=1))
    assert found.within == pytest.approx(math.sqrt((2 + 0) / 2))
    assert found.interval is None
    one = summarise(np.array([[1.0, 3.0]] * 4), 0, ["a"] * 4)
    assert (one.count, one.between, one.interval) == (1, None, None)


def test_effect_size_closed_form():
    # means 3 and 1, both deviations 1, f = 4: g = (1 - 3/15) * 2
    assert effect_size([2, 3, 4], [0, 1, 2]) == pytest.approx(1.6)
    # one search: the random genotypes' deviation alone, f = 2
    assert effect_size([3], [0, 1, 2]) == pytest.approx((1 - 3 / 7) * 2)
    assert effect_size([1, 1], [1, 1]) is None  # nothing deviates
    assert effect_size([1], [2]) is None
    assert effect_size([1], [2, 3]) is None  # f = 1


def test_effect_size_is_unbiased():
    rng = np.random.default_rng(3)
    draws = [
        effect_size(rng.normal(0.8, 1, 4), rng.normal(0, 1, 12)) for _ in range(4000)
    ]
    four_deviations = 4 * np.std(draws) / math.sqrt(4000)
    assert np.mean(draws) == pytest.approx(0.8, abs=four_deviations)


# --- the permutation test


def test_permutation_of_pairs_is_scipys():
    """One random genotype a search: scipy's exchange of paired samples."""
    rng = np.random.default_rng(0)
    for _ in range(3):
        values = rng.normal(size=(7, 2)) + [0.6, 0]
        difference, p = permutation_test(list(values))
        expected = stats.permutation_test(
            tuple(values.T),
            lambda x, y: abs(np.mean(x - y)),
            permutation_type="samples",
            alternative="greater",
            n_resamples=np.inf,
        )
        assert abs(difference) == pytest.approx(expected.statistic)
        assert p == pytest.approx(expected.pvalue)


def test_permutation_of_one_block_is_a_rank():
    """The share of genotypes that are as far from the mean of all as the found one."""
    values = np.random.default_rng(1).normal(size=13)
    distance = np.abs(values - values.mean())
    difference, p = permutation_test([values])
    assert difference == pytest.approx(values[0] - values[1:].mean())
    assert p == (distance >= distance[0]).mean()


def test_permutation_by_hand():
    blocks = [np.array([5.0, 1.0, 0.0]), np.array([4.0, 2.0, 3.0])]
    observed, p = permutation_test(blocks)
    assert observed == pytest.approx(((5 - 0.5) + (4 - 2.5)) / 2)
    first, second = (5 - 0.5, 1 - 2.5, 0 - 3.0), (4 - 2.5, 2 - 3.5, 3 - 3.0)
    outcomes = [abs(a + b) / 2 for a, b in itertools.product(first, second)]
    assert p == sum(x >= observed for x in outcomes) / 9


def test_sampled_permutations_agree_with_exact_ones(monkeypatch):
    means = [*np.random.default_rng(1).normal(size=(4, 4)) + [0.7, 0, 0, 0]]
    exact = permutation_test(means)
    monkeypatch.setattr("jdarts.statistics._MOST_EXACT", 10)
    sampled = permutation_test(means)
    assert sampled[0] == exact[0]
    assert sampled[1] == pytest.approx(exact[1], abs=0.01)
    assert sampled == permutation_test(means)  # the seed is fixed


@pytest.mark.parametrize("blocks, size", [(1, 13), (2, 4), (3, 2), (1, 2)])
def test_smallest_p_is_reached_by_the_clearest_outcome(blocks, size):
    clear = np.zeros((blocks, size))
    clear[:, 0] = 10
    assert permutation_test(list(clear))[1] == pytest.approx(
        smallest_p([size] * blocks)
    )


def test_blocks_of_different_sizes_by_hand():
    blocks = [np.array([5.0, 1.0, 0.0]), np.array([4.0, 2.0])]
    observed, p = permutation_test(blocks, np.array([3, 1]))
    first, second = (5 - 0.5, 1 - 2.5, 0 - 3.0), (4 - 2.0, 2 - 4.0)
    outcomes = [abs(3 * a + b) / 4 for a, b in itertools.product(first, second)]
    assert observed == pytest.approx((3 * 4.5 + 2) / 4)
    assert p == sum(x >= observed for x in outcomes) / 6 == smallest_p([3, 2])


def test_permutation_test_keeps_its_level():
    """Without any effect at most that share of comparisons may claim one."""
    ps = [
        permutation_test(list(v))[1]
        for v in np.random.default_rng(4).normal(size=(4000, 4, 4))
    ]
    for level in (0.05, 0.2):
        share = (np.array(ps) <= level).mean()
        assert share <= level + 3 * math.sqrt(level * (1 - level) / 4000)
        assert share >= level * 0.8  # and it is not blind


# --- intervals: shares of 200 experiments, each with a deviation of about 1.5 %


def coverage(intervals, truth):
    return np.mean([i.low <= truth <= i.high for i in intervals])


@pytest.mark.parametrize("n, least, most", [(6, 0.88, 0.99), (12, 0.90, 0.99)])
def test_coverage_of_the_mean_interval(n, least, most):
    """95 % nominally."""
    rng = np.random.default_rng(5)
    found = [experiment(rng, n)[0] for _ in range(200)]
    means = [x.mean(axis=1) for x in found]
    assert least <= coverage(map(mean_interval, means), 0.0) <= most


def test_retrainings_are_no_genotypes():
    """Taken for 72 genotypes, 12 retrainings of 6 would cover far too rarely."""
    rng = np.random.default_rng(6)
    found = [experiment(rng, 6, m=12, within=0.1)[0] for _ in range(100)]
    flat = coverage((mean_interval(x.ravel()) for x in found), 0.0)
    means = [x.mean(axis=1) for x in found]
    assert flat < 0.5 < 0.7 < coverage(map(mean_interval, means), 0.0)


@pytest.mark.parametrize("n, k", [(6, 6), (8, 3)])
def test_coverage_of_the_difference_interval(n, k):
    """95 % nominally."""
    rng = np.random.default_rng(7)
    intervals = []
    for _ in range(200):
        found, random = experiment(rng, n, k, better=0.3)
        means = found.mean(axis=1), random.mean(axis=2).ravel()
        intervals.append(difference_interval(*means))
    assert coverage(intervals, 0.3) >= 0.88


def test_intervals_are_reproducible_and_need_six():
    """The least n with 95 % of medians between the least and the largest value."""
    means = np.array([0.9, 0.8, 0.95, 0.91, 0.85, 0.87])
    assert 1 - 2.0 ** (1 - len(means)) >= 0.95 > 1 - 2.0 ** (2 - len(means))
    found = mean_interval(means)
    assert found == mean_interval(means)
    rounding = 1e-9
    assert 0.8 - rounding <= found.low < found.high <= 0.95 + rounding
    for few in range(1, 6):
        assert mean_interval(means[:few]) is None
        assert difference_interval(means[:few], means) is None
        assert difference_interval(means, means[:few]) is None
    assert difference_interval(means, means) is not None


def test_interval_is_students_where_means_are_normal():
    values = np.random.default_rng(8).normal(size=40)
    low, high = stats.t.interval(0.95, 39, values.mean(), stats.sem(values))
    found = mean_interval(values)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.03)
    # Retrainings that deviate far more than their means: it is the means that count.
    apart = values[:, None] + np.array([-5.0, 0.0, 5.0])
    found = summarise(apart).interval
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.03)


def test_interval_of_networks_that_count_differently():
    """Against the linearised deviation of a ratio of sums."""
    rng = np.random.default_rng(15)
    values, counts = rng.normal(size=60), rng.integers(1, 5, size=60)
    mean = np.average(values, weights=counts)
    error = math.sqrt(60 / 59 * ((counts * (values - mean)) ** 2).sum()) / counts.sum()
    half = stats.t.ppf(0.975, 59) * error
    found = mean_interval(values, counts)
    expected = pytest.approx((mean - half, mean + half), abs=0.06 * half)
    assert (found.low, found.high) == expected


# --- the whole comparison


def test_a_clear_result():
    found, random = experiment(np.random.default_rng(9), better=6.0)
    better = compare(found, random)
    assert better.verdict == "better"
    assert better.wins == better.pairs == 12
    assert better.p == better.smallest_p == 4**-4
    assert better.interval is None and better.effect > 2
    text = better.sentence(scale=1)
    assert text.startswith("The search beat chance:")
    assert f"{better.difference:.2f} points better" in text and "p = 0.0039" in text
    worse = compare(-found, -random)
    assert worse.verdict == "worse" and worse.wins == 0
    assert worse.effect == pytest.approx(-better.effect)
    assert worse.sentence().startswith("The search did worse than chance:")


def test_by_hand():
    own = np.array([[4.0, 6.0], [1.0, 1.0]])
    random = np.array([[[4.0, 4.0], [7.0, 7.0]], [[0.0, 1.0], [1.0, 1.0]]])
    found = compare(own, random)
    assert found.difference == pytest.approx(((5 - 5.5) + (1 - 0.75)) / 2)
    assert (found.wins, found.pairs) == (1 + 0 + 1 + 0.5, 4)
    first, second = (5 - 5.5, 4 - 6, 7 - 4.5), (1 - 0.75, 0.5 - 1, 1 - 0.75)
    outcomes = [abs(a + b) / 2 for a, b in itertools.product(first, second)]
    assert found.p == sum(x >= 0.125 for x in outcomes) / 9
    assert found.effect == effect_size([5, 1], [4, 7, 0.5, 1])


def test_searches_that_found_one_network_are_one():
    """Four times the same network, better than its 12 random ones: a rank of 13."""
    random = np.random.default_rng(14).normal(size=(4, 3, 2))
    own = np.full((4, 2), [9.0, 9.2])
    assert compare(own, random).p == 4**-4  # taken for four networks
    found = compare(own, random, networks=["a"] * 4)
    assert found.p == found.smallest_p == 1 / 13
    assert found.verdict == "cannot tell" and found.interval is None
    assert found.difference == pytest.approx(9.1 - random.mean())
    assert (found.wins, found.pairs) == (12, 12)
    assert found.effect == effect_size([9.1], random.mean(2).ravel())
    two = compare(own, random, networks=["a", "b", "a", "a"])
    assert two.p == two.smallest_p == 1 / (4 * 10)
    assert two.difference == pytest.approx(found.difference)


def test_ties_tell_nothing():
    found = compare(np.full((2, 2), 0.9), np.full((2, 2, 2), 0.9))
    assert (found.p, found.effect, found.detectable) == (1.0, None, None)
    assert found.difference == pytest.approx(0, abs=1e-15)
    assert (found.wins, found.pairs) == (2.0, 4)
    assert found.sentence().startswith("Cannot tell")


def test_one_search_and_few_random_genotypes_cannot_tell():
    found = compare(np.array([[0.99]]), np.array([[[0.5], [0.51], [0.52]]]))
    assert found.verdict == "cannot tell" and found.interval is None
    assert found.p == found.smallest_p == 0.25
    assert "cannot give p below 0.25" in found.sentence()
    assert "but chance alone could explain that" in found.sentence()
    assert "more searches" in found.sentence()


def test_cannot_tell_says_what_would_be_missed():
    found = compare(*experiment(np.random.default_rng(13)))
    assert found.verdict == "cannot tell"
    assert f"below {found.detectable:.2f} points" in found.sentence(scale=1)


def test_detectable_difference_is_found_in_most_cases():
    """The power of the t test in closed form: about 80 %."""
    own, random = (np.resize([-1.0, 1.0], n) for n in ((4, 1), (4, 3, 1)))
    found = compare(own, random)
    error = math.sqrt(16 / 14) * math.sqrt(1 / 4 + 1 / 12)
    critical = stats.t.ppf(0.975, 14)
    power = stats.nct.sf(critical, 14, found.detectable / error)
    assert power == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(
    "found, random", [((0, 3), (0, 3, 3)), ((2, 0), (2, 3, 0)), ((2, 3), (2, 0, 3))]
)
def test_nothing_to_compare(found, random):
    with pytest.raises(ValueError):
        compare(np.zeros(found), np.zeros(random))
