"""Against closed forms, scipy, and simulated experiments whose truth is known."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from scipy import stats

from jdarts.statistics import (
    compare,
    effect_size,
    holm,
    mean_deviation,
    mean_interval,
    permutation_interval,
    permutation_test,
    rank_correlation,
    smallest_p,
    student_p,
    summarise,
    welch_p,
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
    variance = np.var([2, 4, 7], ddof=1)
    assert found.of_means == pytest.approx(math.sqrt(variance))
    assert found.within == pytest.approx(math.sqrt((2 + 0 + 2) / 3))
    assert found.between == pytest.approx(math.sqrt(variance - (4 / 3) / 2))
    assert found.interval == mean_interval(np.array([2.0, 4.0, 7.0]))
    assert found.count == 3
    alone = summarise(np.array([[0.5]]))
    nothing = (alone.of_means, alone.between, alone.within, alone.interval)
    assert nothing == (None, None, None, None)
    once = summarise(
        np.array([[0.5], [0.7]])
    )  # of one retraining nothing is told apart
    assert once.of_means > 0 and once.between is once.within is None
    noise = summarise(np.array([[1.0, 3.0], [1.1, 3.1]]))
    assert noise.of_means > 0 and noise.between == 0


def test_components_of_variance_by_simulation():
    """The networks' own deviation, whatever the number of retrainings; that of means
    has their noise in it."""
    rng = np.random.default_rng(2)
    for m in (2, 5):
        found = [
            summarise(experiment(rng, 30, m=m, between=1.0, within=2.0)[0])
            for _ in range(300)
        ]
        own, means, within = (
            math.sqrt(np.mean([getattr(f, name) ** 2 for f in found]))
            for name in ("between", "of_means", "within")
        )
        assert own == pytest.approx(1, abs=0.06) and within == pytest.approx(
            2, abs=0.05
        )
        assert means == pytest.approx(math.sqrt(1 + 4 / m), abs=0.05)


def test_summary_of_equal_networks_by_hand():
    """They count once for deviations, and as often as they were found for the mean."""
    samples = np.array([[1.0, 3.0], [4.0, 4.0], [1.0, 3.0]])
    found = summarise(samples, ["a", "b", "a"])
    assert found.count == 2
    assert found.mean == pytest.approx((2 + 4 + 2) / 3)
    assert found.of_means == pytest.approx(np.std([2, 4], ddof=1))
    assert found.within == pytest.approx(math.sqrt((2 + 0) / 2))
    assert found.interval == mean_interval(np.array([2.0, 4.0]), np.array([2, 1]))
    one = summarise(np.array([[1.0, 3.0]] * 4), ["a"] * 4)
    assert (one.count, one.of_means, one.between, one.interval) == (1, None, None, None)


def block(*values):
    """One retraining of each genotype, the found one first."""
    return np.array(values, float)[:, None]


def test_effect_size_closed_form():
    # one search: the random genotypes' deviation alone, 1, with f = 2
    assert effect_size([block(3, 0, 1, 2)]) == pytest.approx((1 - 3 / 7) * 2)
    # levels of blocks count nothing: deviations 1 with f = 3, and differences 2 and 3
    two = [block(3, 0, 1, 2), block(104, 100, 101, 102)]
    squares = 2 + 2 + 3 / 4 * 2 * 0.5**2
    expected = (1 - 3 / 19) * 2.5 / math.sqrt(squares / 5)
    assert effect_size(two) == pytest.approx(expected)
    # R = 2: one training's deviation, not that of means of two
    again = [np.array([[3, 3], [-1, 1], [0, 2], [1, 3]], float)]
    means, within = 1.0, (0 + 2 + 2 + 2) / 4
    s = means + within / 2
    freedom = s**2 / (means**2 / 2 + (within / 2) ** 2 / 4)
    expected = (1 - 3 / (4 * freedom - 1)) * 2 / math.sqrt(s)
    assert effect_size(again) == pytest.approx(expected)
    assert effect_size([block(1, 1, 1)]) is None  # nothing deviates
    assert effect_size([block(1, 2)]) is None
    assert effect_size([block(1, 2, 3)]) is None  # f = 1


@pytest.mark.parametrize("m", [1, 3, 8])
def test_effect_size_is_unbiased_however_many_retrainings(m):
    rng, draws = np.random.default_rng(3), []
    for _ in range(1500):
        found, random = experiment(rng, m=m, better=0.8, between=0.6, within=0.8)
        levels = rng.normal(0, 5, 4)  # of searches that found other sizes
        own = [np.concatenate([f[None], r]) for f, r in zip(found, random, strict=True)]
        draws.append(effect_size([b + x for b, x in zip(own, levels, strict=True)]))
    four_deviations = 4 * np.std(draws) / math.sqrt(len(draws))
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
            lambda x, y: np.mean(x - y),
            permutation_type="samples",
            alternative="two-sided",
            n_resamples=np.inf,
        )
        assert difference == pytest.approx(expected.statistic)
        assert p == pytest.approx(expected.pvalue)


def test_permutation_of_one_block_is_a_rank():
    """Twice the share of genotypes that are as high, or as low, as the found one."""
    values = np.random.default_rng(1).normal(size=13) + [1.5, *[0] * 12]
    difference, p = permutation_test([values])
    assert difference == pytest.approx(values[0] - values[1:].mean())
    tails = (values >= values[0]).mean(), (values <= values[0]).mean()
    assert p == pytest.approx(2 * min(tails)) and p < 1


def test_the_best_of_forty_is_better_however_bad_the_worst_are():
    """By absolute differences four bad cells would hide it."""
    values = np.append([1.0], np.linspace(-0.1, 0.1, 39))
    values[-4:] = -9.0
    assert permutation_test([values])[1] == 2 / 40
    found = compare(values[:1, None], values[None, 1:, None])
    assert found.verdict == "better"
    distance = np.abs(values - values.mean())
    assert (distance >= distance[0]).mean() > 0.05


def test_permutation_by_hand():
    blocks = [np.array([5.0, 1.0, 0.0]), np.array([4.0, 2.0, 3.0])]
    observed, p = permutation_test(blocks)
    assert observed == pytest.approx(((5 - 0.5) + (4 - 2.5)) / 2)
    first, second = (5 - 0.5, 1 - 2.5, 0 - 3.0), (4 - 2.5, 2 - 3.5, 3 - 3.0)
    outcomes = [(a + b) / 2 for a, b in itertools.product(first, second)]
    as_high, as_low = (
        sum(sign * x >= sign * observed for x in outcomes) for sign in (1, -1)
    )
    assert p == 2 * min(as_high, as_low) / 9 == 2 / 9


def test_sampled_permutations_agree_with_exact_ones(monkeypatch):
    means = [*np.random.default_rng(1).normal(size=(4, 4)) + [0.7, 0, 0, 0]]
    exact = permutation_test(means)
    interval = permutation_interval(means)
    monkeypatch.setattr("jdarts.statistics.permutation._MOST_EXACT", 10)
    sampled = permutation_test(means)
    ends = dataclasses.astuple(permutation_interval(means))
    assert ends == pytest.approx(dataclasses.astuple(interval), abs=0.1)
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
    outcomes = [(3 * a + b) / 4 for a, b in itertools.product(first, second)]
    assert observed == pytest.approx((3 * 4.5 + 2) / 4)
    assert p == 2 * sum(x >= observed for x in outcomes) / 6 == smallest_p([3, 2])


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


def skewed(rng, *shape):
    """Accuracies with a long tail of bad ones: mean 0, deviation 1, skewness -2.4."""
    k = 4 / 2.4**2
    return -(rng.gamma(k, 1, shape) - k) / math.sqrt(k)


@pytest.mark.parametrize("n, k", [(4, 3), (4, 6), (1, 39)])
def test_false_alarms_are_as_many_on_each_side(n, k):
    """2 to 3 % each, within three deviations of 1,500 experiments (1.2 %)."""
    rng, verdicts = np.random.default_rng(0), {-1: 0, 1: 0}
    for values in skewed(rng, 1500, n, k + 1):
        difference, p = permutation_test([*values])
        verdicts[1 if difference > 0 else -1] += p <= 0.05
    for side in verdicts.values():
        assert 0.02 - 0.012 < side / 1500 < 0.03 + 0.012


def test_power_of_one_search_where_accuracies_are_skewed():
    """One true deviation, 39 random genotypes: two in three are found."""
    values = skewed(np.random.default_rng(1), 1000, 1, 40)
    values[:, :, 0] += 1
    found = [permutation_test([*v]) for v in values]
    assert np.mean([p <= 0.05 and d > 0 for d, p in found]) >= 0.65


# --- intervals: 500 experiments, whose share has a deviation of about 1 %


def coverage(intervals, truth):
    return np.mean([i.low <= truth <= i.high for i in intervals])


@pytest.mark.parametrize("n", [2, 3, 4, 8])
def test_coverage_of_the_mean_interval(n):
    """95 % nominally."""
    found = [summarise(experiment(rng, n)[0]) for rng in rngs(5)]
    assert 0.92 <= coverage([x.interval for x in found], 0.0) <= 0.98


def rngs(seed):
    rng = np.random.default_rng(seed)
    return [rng] * 500


@pytest.mark.parametrize("draw", [skewed, lambda rng, *s: rng.normal(size=s)])
@pytest.mark.parametrize("n, k", [(1, 39), (2, 6), (3, 4), (4, 3)])
def test_coverage_of_the_interval_of_the_difference(n, k, draw):
    """95 % nominally, in blocks of quite different levels."""
    intervals = []
    for rng in rngs(7):
        values = draw(rng, n, k + 1) + rng.normal(0, 5, (n, 1))
        values[:, 0] += 0.3
        intervals.append(permutation_interval([*values]))
    assert 0.925 <= coverage(intervals, 0.3) <= 0.985


@pytest.mark.parametrize("sizes", [(40,), (7, 8), (5, 5, 4), (4, 4, 4, 4), (2,) * 6])
def test_interval_and_test_agree(sizes):
    """0 is in the interval where the test does not reject, also with ties and weights;
    and so is every other difference, taken from the found genotypes."""
    rng, rejected = np.random.default_rng(11), 0
    for _ in range(60):
        blocks = [
            np.round(rng.normal(size=size) + [1.2, *[0] * (size - 1)], 1)
            for size in sizes
        ]
        weights = rng.integers(1, 4, len(sizes))
        found = permutation_interval(blocks, weights)
        for d in (0.0, 0.7137, found.low - 1e-6, found.high + 1e-6):
            shifted = [v - np.append(d, np.zeros(len(v) - 1)) for v in blocks]
            p = permutation_test(shifted, weights)[1]
            assert (p > 0.05) == (found.low <= d <= found.high), (d, p, found)
            rejected += p <= 0.05
    assert 120 < rejected < 240


def test_too_few_networks_have_no_interval():
    assert smallest_p([4, 4]) == 0.125 and smallest_p([40]) == 0.05
    assert permutation_interval([np.arange(4.0)] * 2) is None
    assert permutation_interval([np.arange(39.0)]) is None
    for searches, random in ((1, 39), (2, 12), (3, 9), (4, 8)):  # as --random says
        for total, can in ((random, True), (random - searches, False)):
            least = smallest_p([1 + total // searches] * searches)
            assert (least <= 0.05) == can
    found = permutation_interval([np.arange(40.0)])
    # The found one, 0, moved to the ends of the others: 1 to 39.
    assert (found.low, found.high) == (-39, -1)


def test_retrainings_are_no_genotypes():
    """Taken for 72 genotypes, 12 retrainings of 6 would cover far too rarely."""
    found = [experiment(rng, 6, m=12, within=0.1)[0] for rng in rngs(6)[:200]]
    flat = coverage((mean_interval(x.ravel()) for x in found), 0.0)
    assert flat < 0.5
    assert coverage((summarise(x).interval for x in found), 0.0) > 0.9


def test_mean_interval_is_students():
    values = np.random.default_rng(8).normal(size=5)
    expected = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
    found = mean_interval(values)
    assert (found.low, found.high) == pytest.approx(expected)
    assert mean_interval(values[:1]) is None


def test_mean_interval_of_networks_that_count_differently():
    """Against the deviation of a ratio of sums by resampling."""
    rng = np.random.default_rng(15)
    values, counts = rng.normal(size=60), rng.integers(1, 5, size=60)
    drawn = rng.integers(60, size=(20000, 60))
    means = (values * counts)[drawn].sum(1) / counts[drawn].sum(1)
    half = stats.t.ppf(0.975, 59) * means.std()
    found = mean_interval(values, counts)
    assert (found.low + found.high) / 2 == pytest.approx(
        np.average(values, weights=counts)
    )
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.06)


# --- several groups


def test_welch():
    a, b = [1.0, 2.0, 4.0], [5.0, 9.0, 2.0, 4.0]
    assert welch_p(a, b) == stats.ttest_ind(a, b, equal_var=False).pvalue
    assert welch_p([1.0], b) is None and welch_p([1.0, 1.0], [2.0, 2.0]) is None


def test_student():
    a = [1.0, 2.0, 4.0]
    assert student_p(a, 5.0) == stats.ttest_1samp(a, 5.0).pvalue
    assert student_p([1.0], 5.0) is None and student_p([1.0, 1.0], 5.0) is None


def test_rank_correlation():
    assert rank_correlation([1, 2, 3], [5, 6, 9]) == pytest.approx((1, 2 / 6))
    a, b = [1, 2, 2, 4, 7], [3.0, 1.0, 4.0, 8.0, 5.0]
    found = rank_correlation(a, b)
    assert found[0] == pytest.approx(stats.spearmanr(a, b).statistic)
    ranks = [
        abs(stats.spearmanr(a, order).statistic) for order in itertools.permutations(b)
    ]
    assert found[1] == pytest.approx(
        np.mean([r >= abs(found[0]) - 1e-9 for r in ranks])
    )
    many = np.random.default_rng(0).normal(size=(2, 30))
    expected = stats.spearmanr(*many)
    assert rank_correlation(*many) == pytest.approx(tuple(expected))
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([1, 2, 3], [1, 1, 1]) is None


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.6, 0.4]) == pytest.approx([0.8, 0.8]) and holm([]) == []


# --- the whole comparison


def test_a_clear_result():
    found, random = experiment(np.random.default_rng(9), better=6.0)
    better = compare(found, random)
    assert better.verdict == "better"
    assert better.wins == better.pairs == 12
    assert better.p == better.smallest_p == 2 * 4**-4
    assert 0 < better.interval.low < better.difference and better.effect > 2
    text = better.sentence(scale=1)
    assert text.startswith("The search beat chance:")
    assert f"{better.difference:.2f} points better" in text and "p = 0.0078" in text
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
    outcomes = [(a + b) / 2 for a, b in itertools.product(first, second)]
    as_high, as_low = (sum(s * x >= -s * 0.125 for x in outcomes) for s in (1, -1))
    assert (as_high, as_low) == (5, 6) and found.p == 1
    blocks = [np.vstack([f, r]) for f, r in zip(own, random, strict=True)]
    assert found.effect == effect_size(blocks)


def test_searches_that_found_one_network_are_one():
    """Four times the same network, better than its 12 random ones: a rank of 13."""
    random = np.random.default_rng(14).normal(size=(4, 3, 2))
    own = np.full((4, 2), [9.0, 9.2])
    assert compare(own, random).p == 2 * 4**-4  # taken for four networks
    found = compare(own, random, networks=["a"] * 4)
    assert found.p == found.smallest_p == 2 / 13 and found.networks == 1
    assert found.verdict == "cannot tell" and found.interval is None
    assert found.difference == pytest.approx(9.1 - random.mean())
    assert (found.wins, found.pairs) == (12, 12)
    assert "This is about one network" in found.sentence()
    assert found.effect == effect_size([np.vstack([own[0], random.reshape(-1, 2)])])
    two = compare(own, random, networks=["a", "b", "a", "a"])
    assert two.p == two.smallest_p == 2 / (4 * 10) and two.networks == 2
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
    assert found.p == found.smallest_p == 0.5 and found.detectable is None
    assert "cannot give p below 0.5" in found.sentence()
    assert "its network was on average" not in found.sentence()
    assert "its network was 48.00 points better" in found.sentence()
    assert "but chance alone could explain that" in found.sentence()
    assert "more searches" in found.sentence()


def test_cannot_tell_says_what_would_be_missed():
    found = compare(*experiment(np.random.default_rng(13)))
    assert found.verdict == "cannot tell"
    assert f"misses a true difference of {found.detectable:.2f} points in about" in (
        found.sentence(scale=1)
    )


def test_detectable_difference_is_found_in_most_cases():
    """Of normal means about 80 %, at the difference that a long series states."""
    rng = np.random.default_rng(12)

    def blocks(better):
        values = rng.normal(size=(4, 4)) + rng.normal(0, 5, (4, 1))
        return values + [better, 0, 0, 0]

    def stated(values):
        return compare(values[:, :1], values[:, 1:, None]).detectable

    square = np.mean([stated(blocks(0)) ** 2 for _ in range(400)])
    ps = [permutation_test([*blocks(math.sqrt(square))]) for _ in range(600)]
    power = np.mean([p <= 0.05 and d > 0 for d, p in ps])
    assert power == pytest.approx(0.78, abs=0.06)


@pytest.mark.parametrize(
    "found, random", [((0, 3), (0, 3, 3)), ((2, 0), (2, 3, 0)), ((2, 3), (2, 0, 3))]
)
def test_nothing_to_compare(found, random):
    with pytest.raises(ValueError):
        compare(np.zeros(found), np.zeros(random))
