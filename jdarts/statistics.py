"""How good a search is against chance: numbers that stay honest for a few runs.

The unit of chance is a network: retraining one again only measures it better, and
searches that found the same one have not found it better. So intervals and tests count
distinct networks, not retrainings and not searches. Each search is compared with random
genotypes of its own size. What searches found one network, it and these together are a
block. Shapes:

* ``found``: ``[searches, retrainings]``
* ``random``: ``[searches, random genotypes of each, retrainings]``

Accuracies may have any unit; results have the same one.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from jdarts.lazy import LazyModule

if TYPE_CHECKING:
    from scipy import stats
else:
    stats = LazyModule("scipy.stats")

__all__ = [
    "LEAST_NETWORKS",
    "LEVEL",
    "Comparison",
    "Interval",
    "Summary",
    "compare",
    "difference_interval",
    "effect_size",
    "mean_deviation",
    "mean_interval",
    "permutation_test",
    "smallest_p",
    "summarise",
]

LEVEL = 0.05  # of every test and, as 1 - LEVEL, of every interval
LEAST_NETWORKS = 6
"""Intervals are given for so many networks or more. Drawn from n values, one lies
between the least and the largest of them, and these enclose the median in
``1 - 2^(1 - n)`` of cases only: 93.8 % for n = 5, 96.9 % for n = 6."""
_RESAMPLES = 10_000
_MOST_EXACT = 100_000  # permutations that are all looked at
_SAMPLED = 99_999
_POWER = 0.8


@dataclasses.dataclass(frozen=True)
class Interval:
    """A confidence interval of level ``1 - LEVEL``."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Searches against chance.

    Attributes:
      difference: mean accuracy over the searches minus that of the random genotypes.
      interval: of the difference, see `difference_interval`; None for few networks.
      effect: see `effect_size`; None where it is not defined.
      wins: in how many pairs of a search and one of its random genotypes the search's
        mean is higher; ties count half.
      pairs: the number of those pairs.
      p: two-sided, of `permutation_test`.
      smallest_p: the least p that so few genotypes can give.
      detectable: the true difference that a comparison of this size finds in 80 % of
        cases, if genotypes deviate as they did; None where they did not.
      verdict: ``"better"``, ``"worse"`` or ``"cannot tell"``.
    """

    difference: float
    interval: Interval | None
    effect: float | None
    wins: float
    pairs: int
    p: float
    smallest_p: float
    detectable: float | None
    verdict: str

    def sentence(self, unit: str = "points", scale: float = 100.0) -> str:
        """Whether the search beat chance, in plain words.

        Args:
          unit: the name of the unit that accuracies have when multiplied by `scale`.
          scale: what differences are multiplied by.
        """
        how = "better" if self.difference >= 0 else "worse"
        fact = (
            f"its networks were on average {scale * abs(self.difference):.2f} {unit} "
            f"{how} than random ones of the same size"
        )
        test = f"p = {self.p:.2g} by permutation"
        if self.verdict == "better":
            return f"The search beat chance: {fact} ({test})."
        if self.verdict == "worse":
            return f"The search did worse than chance: {fact} ({test})."
        text = (
            f"Cannot tell whether the search beat chance: {fact}, "
            f"but chance alone could explain that ({test})."
        )
        if self.smallest_p > LEVEL:
            text += (
                f" So few networks cannot give p below {self.smallest_p:.2g} whatever "
                "their accuracies; it takes more searches or random genotypes."
            )
        elif self.detectable is not None:
            text += (
                " A comparison of this size often misses a true difference below "
                f"{scale * self.detectable:.2f} {unit}."
            )
        return text


def compare(
    found: Float[ArrayLike, "search retraining"],
    random: Float[ArrayLike, "search genotype retraining"],
    seed: int = 0,
    networks: Sequence[str] | None = None,
) -> Comparison:
    """Compares searches with random genotypes, all retrained alike.

    Args:
      found: the accuracies of each search's genotype.
      random: those of the random genotypes that each search is compared with.
      seed: of the bootstrap, and of the permutations where there are too many.
      networks: a name for what each search found, the same for the same network; not
        given: all are different.

    Raises:
      ValueError: if the shapes do not fit or one of the sizes is 0.
    """
    found, random = np.asarray(found, float), np.asarray(random, float)
    if found.ndim != 2 or random.ndim != 3 or 0 in found.shape + random.shape:
        raise ValueError(f"found {found.shape}, random {random.shape}")
    own, others = found.mean(1), random.mean(2)
    first, of_block, counts = _distinct(networks, len(own))
    blocks = [
        np.append(own[i], others[of_block == block]) for block, i in enumerate(first)
    ]
    difference, p = permutation_test(blocks, counts, seed)
    outcomes = np.sign(own[:, None] - others)
    spread = _pooled_deviation(own[first], others.ravel())
    verdict = "cannot tell"
    if p <= LEVEL:
        verdict = "better" if difference > 0 else "worse"
    return Comparison(
        difference=difference,
        interval=difference_interval(own[first], others.ravel(), counts, seed),
        effect=effect_size(own[first], others.ravel(), difference),
        wins=float((outcomes + 1).sum() / 2),
        pairs=outcomes.size,
        p=p,
        smallest_p=smallest_p([len(block) for block in blocks]),
        detectable=_detectable(spread, len(first), others.size) if spread else None,
        verdict=verdict,
    )


def _distinct(
    networks: Sequence[str] | None, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first place of each distinct network, in order, the number of its network for
    each place, and how often each network is there."""
    names = list(range(count) if networks is None else networks)
    numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
    of_network = np.array([numbers[name] for name in names])
    first = np.array([names.index(name) for name in numbers])
    return first, of_network, np.bincount(of_network)


@dataclasses.dataclass(frozen=True)
class Summary:
    """Genotypes of one kind, each retrained.

    Attributes:
      count: number of distinct networks.
      mean: over all genotypes.
      between: sample deviation between the means of networks; None for one network.
      within: deviation between retrainings of one network, root mean square over
        networks; None for one retraining.
      interval: of the mean, see `mean_interval`; None for few networks.
    """

    count: int
    mean: float
    between: float | None
    within: float | None
    interval: Interval | None


def summarise(
    samples: Float[ArrayLike, "genotype retraining"],
    seed: int = 0,
    networks: Sequence[str] | None = None,
) -> Summary:
    """Mean, deviations and interval of genotypes that were retrained.

    Args:
      samples: their accuracies.
      seed: of the interval.
      networks: as for `compare`.
    """
    samples = np.asarray(samples, float)
    first, _, counts = _distinct(networks, len(samples))
    own = samples[first]
    means, within = own.mean(axis=1), None
    if samples.shape[1] > 1:
        within = math.sqrt(own.var(axis=1, ddof=1).mean())
    return Summary(
        count=len(first),
        mean=float(samples.mean()),
        between=mean_deviation(means)[1],
        within=within,
        interval=mean_interval(means, counts, seed),
    )


def mean_deviation(values: ArrayLike) -> tuple[float, float | None]:
    """Mean, and sample deviation (divisor ``n - 1``); None for a single value."""
    array = np.asarray(values, float)
    return float(array.mean()), float(array.std(ddof=1)) if array.size > 1 else None


# --- tests --------------------------------------------------------------------------


def permutation_test(
    blocks: Sequence[Float[np.ndarray, " _genotype"]],
    weights: ArrayLike | None = None,
    seed: int = 0,
) -> tuple[float, float]:
    """The difference to chance, and how often chance alone gives one as large.

    If a search knows no more than chance, its genotype is but one more random genotype:
    any one of its block could have been the found one. All such exchanges are looked
    at, or a sample of 99 999 together with what happened. Nothing is assumed on how
    accuracies are distributed.

    Args:
      blocks: the mean accuracy of each genotype, in each block the found one first; two
        genotypes or more in each.
      weights: of the blocks, in any scale; not given: all the same.
      seed: of the sample.

    Returns:
      The mean over the blocks of ``found - mean of the random ones``, and the two-sided
      p in (0, 1].
    """
    share = np.ones(len(blocks)) if weights is None else np.asarray(weights, float)
    share = share / share.sum()
    # A block's part, if genotype j were the found one: v_j - mean of the others.
    each = [
        w * (len(v) * v - v.sum()) / (len(v) - 1)
        for v, w in zip(blocks, share, strict=True)
    ]
    observed = sum(row[0] for row in each)
    if math.prod(map(len, blocks)) <= _MOST_EXACT:
        sums = np.zeros(1)
        for row in each:
            sums = np.add.outer(sums, row).ravel()
        happened = 0  # it is one of them
    else:
        rng = np.random.default_rng(seed)
        sums = np.sum([rng.choice(row, _SAMPLED) for row in each], axis=0)
        happened = 1
    rounding = 1e-12 * max(np.abs(v).max() for v in blocks)
    extreme = np.abs(sums) >= abs(observed) - rounding
    p = (extreme.sum() + happened) / (extreme.size + happened)
    return float(observed), float(p)


def smallest_p(sizes: Sequence[int]) -> float:
    """The least p that `permutation_test` can give.

    Args:
      sizes: genotypes in each block, the found one counted.
    """
    # In blocks of two all exchanges at once turn the sign: as extreme as the outcome.
    return (2 if set(sizes) == {2} else 1) / math.prod(sizes)


# --- intervals ----------------------------------------------------------------------


def mean_interval(
    means: Float[ArrayLike, " network"],
    counts: ArrayLike | None = None,
    seed: int = 0,
) -> Interval | None:
    """A bootstrap interval of the mean over networks.

    Networks are drawn with replacement; not their retrainings as well, whose noise is
    in the means already (Davison, Hinkley, "Bootstrap Methods", 1997, section 3.8).
    The percentiles are expanded to ``Phi(-sqrt(n / (n - 1)) t)`` with t the quantile of
    n - 1 degrees of freedom, which gives Student's interval where means are normal
    (Hesterberg, "What Teachers Should Know About the Bootstrap", The American
    Statistician 69(4), 2015).

    Args:
      means: the mean accuracy of each network's retrainings.
      counts: how often each counts in the mean; not given: once.
      seed: of the resampling.

    Returns:
      The interval, or None for fewer networks than LEAST_NETWORKS.
    """
    means = np.asarray(means, float)
    if len(means) < LEAST_NETWORKS:
        return None
    found = _resampled_means(means, counts, np.random.default_rng(seed))
    return _expanded_percentiles(found, len(means))


def difference_interval(
    found: Float[ArrayLike, " network"],
    random: Float[ArrayLike, " genotype"],
    counts: ArrayLike | None = None,
    seed: int = 0,
) -> Interval | None:
    """A bootstrap interval of ``mean found - mean random``.

    As `mean_interval`, with both sides drawn independently; the percentiles are those
    for the smaller side. None if a side has fewer networks than LEAST_NETWORKS.
    """
    found, random = np.asarray(found, float), np.asarray(random, float)
    smaller = min(len(found), len(random))
    if smaller < LEAST_NETWORKS:
        return None
    rng = np.random.default_rng(seed)
    ours = _resampled_means(found, counts, rng)
    return _expanded_percentiles(ours - _resampled_means(random, None, rng), smaller)


def _resampled_means(
    values: np.ndarray, counts: ArrayLike | None, rng: np.random.Generator
) -> np.ndarray:
    """Weighted means of values drawn with replacement, ``[resamples]``."""
    weights = np.ones(len(values)) if counts is None else np.asarray(counts, float)
    drawn = rng.integers(len(values), size=(_RESAMPLES, len(values)))
    return (values * weights)[drawn].sum(1) / weights[drawn].sum(1)


def _expanded_percentiles(values: np.ndarray, n: int) -> Interval:
    t = stats.t.ppf(1 - LEVEL / 2, n - 1)
    tail = stats.norm.cdf(-math.sqrt(n / (n - 1)) * t)
    low, high = np.quantile(values, (tail, 1 - tail))
    return Interval(float(low), float(high))


# --- sizes --------------------------------------------------------------------------


def effect_size(
    found: ArrayLike, random: ArrayLike, difference: float | None = None
) -> float | None:
    """Hedges' g: the difference of the means, in deviations between genotypes.

    ``g = (1 - 3 / (4 f - 1)) (mean found - mean random) / s`` with ``f = n + k - 2``
    and ``s^2 = (sum (found - mean)^2 + sum (random - mean)^2) / f`` (Hedges,
    "Distribution Theory for Glass's Estimator of Effect Size", Journal of Educational
    Statistics 6(2), 1981). With one search, s is the random genotypes' own.

    Args:
      found: a value for each of n found genotypes, n >= 1.
      random: a value for each of k random genotypes, k >= 1.
      difference: of the means, where found genotypes count differently.

    Returns:
      g; None with ``f < 2``, or where no genotype deviates.
    """
    a, b = np.asarray(found, float), np.asarray(random, float)
    freedom, spread = a.size + b.size - 2, _pooled_deviation(a, b)
    if spread is None or freedom < 2:
        return None
    difference = a.mean() - b.mean() if difference is None else difference
    return float((1 - 3 / (4 * freedom - 1)) * difference / spread)


def _pooled_deviation(a: np.ndarray, b: np.ndarray) -> float | None:
    """s of `effect_size`; None where it is 0 (up to rounding) or 0 / 0."""
    freedom = a.size + b.size - 2
    squares = float(((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum())
    scale = max(np.abs(a).max(), np.abs(b).max())
    if freedom == 0 or squares <= (1e-12 * scale) ** 2:
        return None
    return math.sqrt(squares / freedom)


def _detectable(spread: float, n: int, k: int) -> float:
    """``s sqrt(1/n + 1/k) (t_{1 - LEVEL/2} + t_{power})`` with f degrees of freedom."""
    t = stats.t.ppf([1 - LEVEL / 2, _POWER], n + k - 2)
    return float(spread * math.sqrt(1 / n + 1 / k) * t.sum())
