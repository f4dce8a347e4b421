"""Cost and quality of what several searches found, and the front between the two."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jdarts.errors import UserError
from jdarts.reports import html
from jdarts.reports.labels import check_recipes, labels, settings
from jdarts.reports.page import Section, page
from jdarts.reports.run import SearchRun, Seed, TrainRun
from jdarts.reports.svg import Line, line_chart
from jdarts.spaces import Genotype
from jdarts.statistics import mean_deviation, rank_correlation

__all__ = [
    "QUALITIES",
    "Point",
    "accuracy",
    "front_page",
    "luck",
    "non_dominated",
    "points_of",
    "trend",
]

_STYLES = 5  # colours


class Point(NamedTuple):
    """What one seed of a search found.

    Attributes:
      label: its method and settings.
      path: its folder.
      seed: its seed.
      cost: of the derived network.
      quality: in [0, 1].
      error: its standard error, where it is a mean of several trainings.
    """

    label: str
    path: str
    seed: int
    cost: float
    quality: float
    error: float | None = None


def _trainings(run: SearchRun, seed: Seed) -> Iterator[tuple[TrainRun, Any]]:
    """The results for its genotype that lie in the search's folders."""
    for training in run.trainings:
        for result in training.results:
            if result.genotype == seed.genotype:
                yield training, result


def _retrained(run: SearchRun, seed: Seed) -> float | None:
    """Mean over the trainings of the genotype."""
    found = [result.last.top1 for _, result in _trainings(run, seed)]
    return float(np.mean(found)) if found else None


def _error(run: SearchRun, seed: Seed) -> float | None:
    """The standard error of `_retrained`; None of fewer than two trainings."""
    found = [result.last.top1 for _, result in _trainings(run, seed)]
    deviation = mean_deviation(np.array(found))[1] if found else None
    return None if deviation is None else deviation / len(found) ** 0.5


QUALITIES: dict[str, Callable[[SearchRun, Seed], float | None]] = {
    "table": lambda run, seed: seed.result_row.get("table_test_accuracy"),
    "retrained": _retrained,
    "supernet": lambda run, seed: seed.result_row.get("supernet_accuracy"),
}
"""What a genotype can be judged by, the most telling first; None where it is not."""


def points_of(
    runs: Sequence[SearchRun], price: Callable[[Genotype], float], quality: str | None
) -> tuple[list[Point], str]:
    """A point a seed, and by which of QUALITIES: if none is named the first that all
    seeds have.

    Raises:
      UserError: for a seed without a finished search, or without that quality; for
        networks that were trained by different recipes.
    """
    found: list[tuple[SearchRun, str, Seed, Genotype]] = []
    for run, label in zip(runs, labels(runs), strict=True):
        for seed in run.seeds:
            if seed.final is None or not seed.epochs:
                raise UserError(
                    f"{seed.path}: the search is not finished; let it go on"
                )
            found.append((run, label, seed, seed.final))
    name = quality or _first_common([(run, seed) for run, _, seed, _ in found])
    points = []
    for run, label, seed, genotype in found:
        value = QUALITIES[name](run, seed)
        if value is None:
            raise UserError(
                f"--quality: {seed.path} has no accuracy of the kind {name}; expected "
                f"another one of {', '.join(QUALITIES)}"
            )
        path = str(seed.path)
        error = _error(run, seed) if QUALITIES[name] is _retrained else None
        points.append(Point(label, path, seed.seed, price(genotype), value, error))
    if QUALITIES[name] is _retrained:
        check_recipes(
            [t for run, _, seed, _ in found for t, _ in _trainings(run, seed)]
        )
    return points, name


def _first_common(seeds: Sequence[tuple[SearchRun, Seed]]) -> str:
    """The first of QUALITIES that all have; the last one if there is none."""
    for name, judge in QUALITIES.items():
        if all(judge(run, seed) is not None for run, seed in seeds):
            return name
    return list(QUALITIES)[-1]


def non_dominated(costs: Sequence[float], qualities: Sequence[float]) -> np.ndarray:
    """Which points no other one dominates, ``[points]``: none is as cheap and as good
    and better in one of the two. Equal points are all kept."""
    cost, good = np.asarray(costs, float), np.asarray(qualities, float)
    as_good = (cost <= cost[:, None]) & (good >= good[:, None])  # [point, other]
    better = (cost < cost[:, None]) | (good > good[:, None])
    return np.logical_not((as_good & better).any(axis=1))


def trend(runs: Sequence[SearchRun], points: Sequence[Point], unit: str) -> str:
    """How the cost goes with the one number that the runs differ in; else nothing."""
    flat = settings(runs)
    names = [n for n in flat[0] if any(own.get(n) != flat[0][n] for own in flat)]
    if len(names) != 1 or len(runs) < 2:
        return ""
    (name,) = names
    found = [o.get(name) for run, o in zip(runs, flat, strict=True) for _ in run.seeds]
    numbers = [
        v for v in found if isinstance(v, int | float) and not isinstance(v, bool)
    ]
    values = np.array(numbers, float)
    if len(values) < len(found):
        return ""
    costs, different = np.array([point.cost for point in points]), np.unique(values)
    means = [float(costs[values == value].mean()) for value in different]
    each = [f"{v:g}: {mean:,.4g}" for v, mean in zip(different, means, strict=True)]
    text = f"Mean {unit} by {name}: {', '.join(each)}."
    # Of means: more seeds of a value are no more values.
    if found := rank_correlation(different, np.array(means)):
        text += (
            f" Rank correlation of {name} and mean cost: {found[0]:+.2f} (n = "
            f"{len(means)}, p = {found[1]:.2g})."
        )
    return text


def luck(points: Sequence[Point], kept: np.ndarray) -> str:
    """How much of the front may be luck, in words.

    A point on it is in doubt if one that costs no more lies within two standard errors
    of their difference below it.
    """
    if any(point.error is None for point in points):
        return (
            "Not every accuracy was measured twice: what is on the front may be luck."
        )
    on = [point for point, on in zip(points, kept, strict=True) if on]
    doubtful = sum(any(_close(point, other) for other in points) for point in on)
    return (
        f"{doubtful} of the {len(on)} on the front are within two standard errors of "
        "one that costs no more, and may be there by luck."
    )


def _close(point: Point, other: Point) -> bool:
    error = math.hypot(point.error or 0, other.error or 0)
    near = 0 <= point.quality - other.quality <= 2 * error
    return other is not point and other.cost <= point.cost and near


def front_page(
    points: Sequence[Point], kept: np.ndarray, unit: str, quality: str, lead: str
) -> str:
    """One self-contained page with the front drawn.

    Args:
      points: what was found.
      kept: which are on the front.
      unit: of the cost.
      quality: what the points are judged by.
      lead: the result in words.
    """
    names = list(dict.fromkeys(point.label for point in points))
    places = {point: (point.cost, 100 * point.quality) for point in points}
    front = sorted({places[p] for p, on in zip(points, kept, strict=True) if on})
    lines = [Line("front", front, "base d1")]
    for point in points:
        style = f"s{names.index(point.label) % _STYLES}"
        lines.append(Line(point.label, [places[point]], style))
    chart = line_chart(
        lines,
        title=f"{quality} accuracy by {unit}",
        description=lead,
        x_label=unit,
        y_label="accuracy in %",
    )
    colours = [(name, "", f"s{i % _STYLES}") for i, name in enumerate(names)]
    figure = html.figure(
        "Cost and quality.",
        f"A dot is the network that one seed found, judged by its {quality} accuracy; "
        "the dashed line joins those that no other one beats in both.",
        chart,
        html.legend([*colours, ("front", "", "base d1")]),
    )
    rows = [
        (p.label, str(p.seed), f"{p.cost:,.4g}", accuracy(p), _mark(on))
        for p, on in zip(points, kept, strict=True)
    ]
    head = ["Search", "Seed", unit.capitalize(), "Accuracy in %", "On the front"]
    body = figure + html.table("What was found", head, rows)
    return page(
        kind="Pareto",
        title="Cost and quality",
        lead=lead,
        top="",
        sections=[Section("front", "Front", body)],
        missing=[],
    )


def accuracy(point: Point) -> str:
    """In percent, with its standard error where it has one."""
    error = "" if point.error is None else f" +- {100 * point.error:.2f}"
    return f"{100 * point.quality:.2f}{error}"


def _mark(on: bool) -> str:
    return "yes" if on else ""
