"""How good a search is against chance: numbers that stay honest for a few runs.

The unit of chance is a network: retraining one again only measures it better, and
searches that found the same one have not found it better. So intervals and tests count
distinct networks, not retrainings and not searches. Each search is compared with random
genotypes of its own size. What searches found one network, it and these together are a
block: levels of accuracy are compared inside blocks only. Shapes:

* ``found``: ``[searches, retrainings]``
* ``random``: ``[searches, random genotypes of each, retrainings]``
* a block: ``[genotypes, retrainings]``, the found one first

The model behind deviations: a training's accuracy is the level of its block, plus the
network's own part (variance ``sigma_b^2``), plus the training's (``sigma_w^2``); the
mean of R trainings has variance ``sigma_b^2 + sigma_w^2 / R``. Accuracies may have any
unit; results have the same one.
"""

from jdarts.statistics.base import LEVEL, Interval
from jdarts.statistics.comparison import Comparison, compare
from jdarts.statistics.deviations import (
    Summary,
    effect_size,
    mean_deviation,
    mean_interval,
    summarise,
)
from jdarts.statistics.groups import holm, rank_correlation, student_p, welch_p
from jdarts.statistics.permutation import (
    permutation_interval,
    permutation_test,
    smallest_p,
)

__all__ = [
    "LEVEL",
    "Comparison",
    "Interval",
    "Summary",
    "compare",
    "effect_size",
    "holm",
    "mean_deviation",
    "mean_interval",
    "permutation_interval",
    "permutation_test",
    "rank_correlation",
    "smallest_p",
    "student_p",
    "summarise",
    "welch_p",
]
