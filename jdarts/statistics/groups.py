"""Several groups against each other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jax.typing import ArrayLike

from jdarts.lazy import LazyModule

if TYPE_CHECKING:
    from scipy import stats
else:
    stats = LazyModule("scipy.stats")

__all__ = ["holm", "welch_p"]


def welch_p(a: ArrayLike, b: ArrayLike) -> float | None:
    """Two-sided p of Welch's test that two groups have one mean.

    None where it is not defined: fewer than two values in one, or none deviates.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if min(a.size, b.size) < 2 or not (np.ptp(a) or np.ptp(b)):
        return None
    return float(stats.ttest_ind(a, b, equal_var=False).pvalue)


def holm(ps: Sequence[float]) -> list[float]:
    """Each p as adjusted for their number: at most a share LEVEL of such families has
    one at or below LEVEL where nothing is true (Holm, Scandinavian Journal of
    Statistics 6(2), 1979)."""
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(np.argsort(ps, kind="stable")):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = largest
    return adjusted
