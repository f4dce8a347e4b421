"""Several groups against each other."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jax.typing import ArrayLike

from jdarts.lazy import LazyModule

if TYPE_CHECKING:
    from scipy import stats
else:
    stats = LazyModule("scipy.stats")

__all__ = ["holm", "rank_correlation", "student_p", "welch_p"]

_MOST_EXACT = 7  # values whose orders are all looked at: 5,040


def welch_p(a: ArrayLike, b: ArrayLike) -> float | None:
    """Two-sided p of Welch's test that two groups have one mean.

    None where it is not defined: fewer than two values in one, or none deviates.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if min(a.size, b.size) < 2 or not (np.ptp(a) or np.ptp(b)):
        return None
    return float(stats.ttest_ind(a, b, equal_var=False).pvalue)


def student_p(values: ArrayLike, mean: float) -> float | None:
    """Two-sided p of Student's test that a group has that mean, a known number.

    None where it is not defined: fewer than two values, or none deviates.
    """
    values = np.asarray(values, float)
    if values.size < 2 or not np.ptp(values):
        return None
    return float(stats.ttest_1samp(values, mean).pvalue)


def rank_correlation(a: ArrayLike, b: ArrayLike) -> tuple[float, float] | None:
    """Spearman's, and its two-sided p: of up to 7 pairs by all orders of one side, of
    more by Student's distribution. None for fewer than three, or a side without order.
    """
    x, y = (stats.rankdata(values) for values in (a, b))
    if x.size < 3 or not (np.ptp(x) and np.ptp(y)):
        return None
    if x.size > _MOST_EXACT:
        found = stats.spearmanr(x, y)
        return float(found.statistic), float(found.pvalue)
    x, y = (values - values.mean() for values in (x, y))
    orders = np.array(list(itertools.permutations(y)))
    products = np.abs(orders @ x)
    p = (products >= abs(x @ y) - 1e-9).mean()
    return float(x @ y / np.sqrt((x @ x) * (y @ y))), float(p)


def holm(ps: Sequence[float]) -> list[float]:
    """Each p as adjusted for their number: at most a share LEVEL of such families has
    one at or below LEVEL where nothing is true (Holm, Scandinavian Journal of
    Statistics 6(2), 1979)."""
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(np.argsort(ps, kind="stable")):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = largest
    return adjusted
