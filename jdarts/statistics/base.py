"""The level of tests, and intervals."""

import dataclasses

__all__ = ["LEVEL", "Interval"]

LEVEL = 0.05  # of every test and, as 1 - LEVEL, of every interval


@dataclasses.dataclass(frozen=True)
class Interval:
    """A confidence interval of level ``1 - LEVEL``."""

    low: float
    high: float
