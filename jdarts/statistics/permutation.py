"""Which one of a block could have been the found one: a test, and its interval."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from jdarts.statistics.base import LEVEL, Interval

__all__ = ["permutation_interval", "permutation_test", "smallest_p"]

_MOST_EXACT = 100_000  # permutations that are all looked at
_SAMPLED = 99_999


class _Exchanges(NamedTuple):
    """Which one of each block could have been the found one, all or a sample.

    Attributes:
      observed: the mean over the blocks of ``found - mean of the random ones``.
      shifts: for each exchange that exchanges anything: the difference that, taken from
        every found genotype, makes the exchange's outcome what then is observed.
        Sorted.
      same: number of those that exchange nothing.
    """

    observed: float
    shifts: np.ndarray
    same: int

    @property
    def total(self) -> int:
        return len(self.shifts) + self.same


def _exchanges(
    blocks: Sequence[Float[np.ndarray, " _genotype"]],
    weights: ArrayLike | None,
    seed: int,
) -> _Exchanges:
    share = np.ones(len(blocks)) if weights is None else np.asarray(weights, float)
    share = share / share.sum()
    # A block's part, if genotype j were the found one: v_j - mean of the others; and
    # how it grows with d where d is taken from genotype 0.
    parts, slopes = [], []
    for v, w in zip(blocks, share, strict=True):
        parts.append(w * (len(v) * v - v.sum()) / (len(v) - 1))
        slopes.append(np.append(-w, np.full(len(v) - 1, w / (len(v) - 1))))
    observed = sum(part[0] for part in parts)
    if math.prod(map(len, blocks)) <= _MOST_EXACT:
        sums, slope = np.zeros(1), np.zeros(1)
        for part, own in zip(parts, slopes, strict=True):
            sums = np.add.outer(sums, part).ravel()
            slope = np.add.outer(slope, own).ravel()
        happened = 0  # it is one of them
    else:
        rng = np.random.default_rng(seed)
        sums, slope = np.zeros(_SAMPLED), np.zeros(_SAMPLED)
        for part, own in zip(parts, slopes, strict=True):
            chosen = rng.integers(len(part), size=_SAMPLED)
            sums, slope = sums + part[chosen], slope + own[chosen]
        happened = 1
    # Outcome sums + slope d and what is observed, observed - d, are equal at
    moved = slope > -1 + 1e-9 * share.min()
    shifts = (observed - sums[moved]) / (1 + slope[moved])
    rounding = 1e-12 * max(np.abs(v).max() for v in blocks) / share.min()
    shifts = np.sort(np.where(np.abs(shifts) <= rounding, 0, shifts))
    return _Exchanges(float(observed), shifts, int((~moved).sum()) + happened)


def permutation_test(
    blocks: Sequence[Float[np.ndarray, " _genotype"]],
    weights: ArrayLike | None = None,
    seed: int = 0,
) -> tuple[float, float]:
    """The difference to chance, and how often chance alone gives one as far out.

    If a search knows no more than chance, its genotype is but one more random genotype:
    any one of its block could have been the found one. All such exchanges are looked
    at, or a sample of 99 999 together with what happened. Nothing is assumed on how
    accuracies are distributed. p is twice the smaller of the shares with an outcome at
    least as high, and at least as low, so that each verdict has half of the level:
    accuracies of random cells have a long tail of bad ones, and by absolute
    differences a good one had to be as far above the mean as the worst are below.

    Args:
      blocks: the mean accuracy of each genotype, in each block the found one first; two
        genotypes or more in each.
      weights: of the blocks, in any scale; not given: all the same.
      seed: of the sample.

    Returns:
      The mean over the blocks of ``found - mean of the random ones``, and the two-sided
      p in (0, 1].
    """
    found = _exchanges(blocks, weights, seed)
    as_high = found.same + np.searchsorted(found.shifts, 0, "right")
    as_low = found.total - np.searchsorted(found.shifts, 0, "left")
    return found.observed, min(1.0, float(2 * min(as_high, as_low) / found.total))


def permutation_interval(
    blocks: Sequence[Float[np.ndarray, " _genotype"]],
    weights: ArrayLike | None = None,
    seed: int = 0,
) -> Interval | None:
    """All differences that `permutation_test` does not reject.

    A difference d is one that the test has nothing against (p > LEVEL) when d is taken
    from every found genotype. So the interval has 0 in it if and only if the test of 0
    does not reject, and covers the truth as often as the test is right, whatever the
    number of networks and the distribution, as long as found genotypes deviate as
    random ones do; with twice their deviation it covers 81 to 88 %, with a third 99 %
    and more (`benchmarks/false_alarms.py`). Lehmann, Romano, "Testing Statistical
    Hypotheses", 2005, section 5.10.

    Args:
      blocks, weights, seed: as of the test.

    Returns:
      The interval; None where the least possible p is above LEVEL.
    """
    found = _exchanges(blocks, weights, seed)
    # So many exchanges beyond d, with those that exchange nothing, are too many.
    place = math.floor(LEVEL / 2 * found.total + 1e-9) - found.same
    if place < 0:
        return None
    return Interval(float(found.shifts[place]), float(found.shifts[-1 - place]))


def smallest_p(sizes: Sequence[int]) -> float:
    """The least p that `permutation_test` can give: ``2 / prod(sizes)``, at most 1.

    Args:
      sizes: genotypes in each block, the found one counted.
    """
    return min(1.0, 2 / math.prod(sizes))
