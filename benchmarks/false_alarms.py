"""How often `jdarts.compare` errs, and what it finds, where the truth is known.

Command: python benchmarks/false_alarms.py [--experiments 4000] [--skewness 2.4] \\
    [--found-deviation 1]

Means of networks are drawn with deviation 1: normal ones, and ones with a long tail of
bad networks (a gamma distribution turned round; random cells are like that). A row is a
comparison of so many searches with so many random networks each, whose searches are in
truth better by `true` deviations; every search has a level of its own. `better`,
`worse`: shares of comparisons that say so, at the level 0.05; `covers`: with the truth
in the interval of the difference; `mean covers`: in Student's interval of the mean of
what the searches found.
"""

import argparse
import math
from collections.abc import Callable, Sequence

import numpy as np
from harness import Parser, Row, count, print_table, run_script, write_rows

from jdarts.statistics import (
    LEVEL,
    mean_interval,
    permutation_interval,
    permutation_test,
)

SIZES = ((4, 3), (4, 6), (1, 39), (2, 6), (3, 4))
FIGURES = ("better", "worse", "covers", "mean covers")

Draw = Callable[..., np.ndarray]


def positive(text: str) -> float:
    """A number > 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text}; expected a number > 0")
    return value


def skewed(skewness: float) -> Draw:
    """Mean 0, deviation 1, that skewness to the left."""
    shape = 4 / skewness**2

    def draw(rng: np.random.Generator, *size: int) -> np.ndarray:
        return (shape - rng.gamma(shape, 1, size)) / math.sqrt(shape)

    return draw


def normal(rng: np.random.Generator, *size: int) -> np.ndarray:
    return rng.normal(size=size)


def shares(
    draw: Draw, searches: int, random: int, true: float, args: argparse.Namespace
) -> dict[str, float | None]:
    """Of each of FIGURES the share of experiments."""
    rng, found = np.random.default_rng(0), []
    for _ in range(args.experiments):
        values = draw(rng, searches, random + 1)
        values[:, 0] = args.found_deviation * values[:, 0] + true
        own = values[:, 0].copy()
        blocks = [*(values + rng.normal(0, 5, (searches, 1)))]
        difference, p = permutation_test(blocks)
        of_difference = permutation_interval(blocks)
        of_mean = mean_interval(own)
        found.append(
            (
                p <= LEVEL and difference > 0,
                p <= LEVEL and difference < 0,
                None if of_difference is None else inside(of_difference, true),
                None if of_mean is None else inside(of_mean, true),
            )
        )
    columns = zip(*found, strict=True)
    return {
        name: None if None in column else float(np.mean(column))
        for name, column in zip(FIGURES, columns, strict=True)
    }


def inside(interval, value: float) -> bool:
    return interval.low <= value <= interval.high


def main(argv: Sequence[str]) -> int:
    parser = Parser(__doc__)
    parser.add_argument("--experiments", type=count, default=4000, help="of each row")
    parser.add_argument(
        "--skewness", type=positive, default=2.4, help="of the tail of bad networks"
    )
    parser.add_argument(
        "--found-deviation",
        type=positive,
        default=1.0,
        help="of what searches find, whatever their gain; random networks have 1",
    )
    args = parser.parse(argv)
    rows = []
    for kind, draw in (("skewed", skewed(args.skewness)), ("normal", normal)):
        for searches, random in SIZES:
            for true in (0.0, 1.0, 2.0):
                name = f"{kind}, {searches} x {random}, true {true:g}"
                found = shares(draw, searches, random, true, args)
                rows.append(Row(name, extra=found))
    print_table(
        ("comparison", *FIGURES), [(r.name, *map(r.extra.get, FIGURES)) for r in rows]
    )
    write_rows(rows, args)
    return 0


if __name__ == "__main__":
    run_script(main)
