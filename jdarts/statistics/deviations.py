"""Means and deviations of networks that were retrained."""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from jdarts.lazy import LazyModule
from jdarts.statistics.base import LEVEL, Interval

if TYPE_CHECKING:
    from scipy import stats
else:
    stats = LazyModule("scipy.stats")

__all__ = [
    "Summary",
    "detectable_difference",
    "distinct",
    "effect_size",
    "mean_deviation",
    "mean_interval",
    "summarise",
]

_POWER = 0.8


def distinct(
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
      of_means: sample deviation between the means of networks, in which the noise of R
        retrainings is: it estimates ``sqrt(sigma_b^2 + sigma_w^2 / R)``; None for one
        network.
      between: sigma_b, the networks' own: ``sqrt(max(0, of_means^2 - within^2 / R))``
        (analysis of variance, as in Searle, Casella, McCulloch, "Variance Components",
        1992, chapter 3). 0: retrainings alone explain `of_means`. None for one network
        or one retraining, where it cannot be told from sigma_w.
      within: sigma_w: deviation between retrainings of one network, root mean square
        over networks; None for one retraining.
      interval: of the mean, see `mean_interval`; None for one network.
    """

    count: int
    mean: float
    of_means: float | None
    between: float | None
    within: float | None
    interval: Interval | None


def summarise(
    samples: Float[ArrayLike, "genotype retraining"],
    networks: Sequence[str] | None = None,
) -> Summary:
    """Mean, deviations and interval of genotypes that were retrained.

    Args:
      samples: their accuracies.
      networks: as for `compare`.
    """
    samples = np.asarray(samples, float)
    first, _, counts = distinct(networks, len(samples))
    own, retrainings = samples[first], samples.shape[1]
    means, within, between = own.mean(axis=1), None, None
    _, of_means = mean_deviation(means)
    if retrainings > 1:
        within = math.sqrt(own.var(axis=1, ddof=1).mean())
    if of_means is not None and within is not None:
        between = math.sqrt(max(0.0, of_means**2 - within**2 / retrainings))
    return Summary(
        count=len(first),
        mean=float(samples.mean()),
        of_means=of_means,
        between=between,
        within=within,
        interval=mean_interval(means, counts),
    )


def mean_deviation(values: ArrayLike) -> tuple[float, float | None]:
    """Mean, and sample deviation (divisor ``n - 1``); None for a single value."""
    array = np.asarray(values, float)
    return float(array.mean()), float(array.std(ddof=1)) if array.size > 1 else None


def mean_interval(
    means: Float[ArrayLike, " network"], counts: ArrayLike | None = None
) -> Interval | None:
    """Student's interval of the mean over networks.

    ``m +- t e`` with ``e^2 = n / (n - 1) sum (c_i (x_i - m))^2 / (sum c_i)^2`` and t
    the quantile of n - 1 degrees of freedom, n the number of networks: what retrainings
    add is in the means already. Where networks count differently m is a ratio of sums,
    and e its linearised error (Cochran, "Sampling Techniques", 1977, section 2.11).
    Covers 95 % where means are normal, for two networks, too; 85 to 88 % where they
    have a long tail on one side (skewness 2.4, `benchmarks/false_alarms.py`).

    Args:
      means: the mean accuracy of each network's retrainings.
      counts: how often each counts in the mean; not given: once.

    Returns:
      The interval, or None for one network.
    """
    means = np.asarray(means, float)
    counts = np.ones(len(means)) if counts is None else np.asarray(counts, float)
    n = len(means)
    if n < 2:
        return None
    mean = float(np.average(means, weights=counts))
    square = n / (n - 1) * ((counts * (means - mean)) ** 2).sum()
    half = float(stats.t.ppf(1 - LEVEL / 2, n - 1) * math.sqrt(square) / counts.sum())
    return Interval(mean - half, mean + half)


class _Spread(NamedTuple):
    """Variances, pooled over blocks, with their degrees of freedom.

    Attributes:
      of_means: of networks' means about what block and kind explain.
      freedom: ``K - 1`` for K random genotypes, whatever the number of blocks.
      within: of retrainings of one network; 0 of one retraining.
      within_freedom: 0 of one retraining.
    """

    of_means: float
    freedom: int
    within: float
    within_freedom: int


def _spread(blocks: Sequence[Float[np.ndarray, "_genotype retraining"]]) -> _Spread:
    """Least squares with a level for each block and one difference of all found ones;
    with one block, the random genotypes' own variance."""
    means = [block.mean(1) for block in blocks]
    others = np.array([len(m) - 1 for m in means])
    differences = np.array([m[0] - m[1:].mean() for m in means])
    precision = others / (others + 1)
    about = differences - np.average(differences, weights=precision)
    squares = sum(((m[1:] - m[1:].mean()) ** 2).sum() for m in means)
    squares += (precision * about**2).sum()
    freedom = int(others.sum()) - 1
    every = np.concatenate(list(blocks))
    within_freedom = len(every) * (every.shape[1] - 1)
    within = every.var(axis=1, ddof=1).mean() if within_freedom else 0.0
    of_means = squares / freedom if freedom else 0.0
    rounding = (1e-12 * np.abs(every).max()) ** 2
    clean = [float(v) if v > rounding else 0.0 for v in (of_means, within)]
    return _Spread(clean[0], freedom, clean[1], within_freedom)


def effect_size(
    blocks: Sequence[Float[np.ndarray, "_genotype retraining"]],
    difference: float | None = None,
) -> float | None:
    """Hedges' g: the difference in deviations of one training of a random network.

    ``g = (1 - 3 / (4 f - 1)) difference / s`` with ``s^2 = s_m^2 + (1 - 1 / R) s_w^2``:
    s_m^2 the variance of networks' means inside blocks, s_w^2 that of retrainings, so
    that s^2 estimates ``sigma_b^2 + sigma_w^2`` however many retrainings there are; f
    are its degrees of freedom by Satterthwaite. Hedges, "Distribution Theory for
    Glass's Estimator of Effect Size", Journal of Educational Statistics 6(2), 1981; by
    the total variance as in "Effect Sizes in Cluster-Randomized Designs", Journal of
    Educational and Behavioral Statistics 32(4), 2007.

    Args:
      blocks: accuracies, in each block the found genotype's first; two genotypes or
        more in each, equally many retrainings of all.
      difference: of the means, where blocks count differently.

    Returns:
      g; None with ``f < 2``, or where nothing deviates.
    """
    found, again = _spread(blocks), 1 - 1 / blocks[0].shape[1]
    parts = found.of_means, again * found.within
    if found.freedom == 0 or sum(parts) == 0:
        return None
    terms = [parts[0] ** 2 / found.freedom]
    if found.within_freedom:
        terms.append(parts[1] ** 2 / found.within_freedom)
    freedom = sum(parts) ** 2 / sum(terms)
    if freedom < 2:
        return None
    if difference is None:
        difference = np.mean([b[0].mean() - b[1:].mean() for b in blocks])
    return float((1 - 3 / (4 * freedom - 1)) * difference / math.sqrt(sum(parts)))


def detectable_difference(
    blocks: Sequence[np.ndarray], weights: ArrayLike
) -> float | None:
    """``e (t_{1 - LEVEL/2} + t_{power})`` with ``e^2 = s_m^2 sum w^2 (1 + 1/k)``, the
    error of the difference: shares w of the blocks, k random genotypes in each."""
    found, share = _spread(blocks), np.asarray(weights, float)
    if not found.of_means:
        return None
    share = share / share.sum()
    others = np.array([len(block) - 1 for block in blocks])
    error = math.sqrt(found.of_means * (share**2 * (1 + 1 / others)).sum())
    t = stats.t.ppf([1 - LEVEL / 2, _POWER], found.freedom)
    return float(error * t.sum())
