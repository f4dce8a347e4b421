"""Searches with known accuracies side by side: regret over the epochs, by method."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from jdarts.errors import UserError
from jdarts.reports import html
from jdarts.reports.labels import labels
from jdarts.reports.page import Section, page
from jdarts.reports.run import SearchRun, Seed
from jdarts.reports.svg import Line, line_chart
from jdarts.statistics import (
    LEVEL,
    Interval,
    holm,
    mean_deviation,
    mean_interval,
    student_p,
    welch_p,
)

__all__ = ["Group", "groups_of", "regret_page", "sentence"]

_STYLES = 5  # colours
# What an epoch's row has to say.
_KNOWN = ("regret", "random_regret", "table_test_accuracy")
_KNOWN += ("table_mean_test_accuracy", "table_best_test_accuracy")


class Group(NamedTuple):
    """The seeds of one method and setting.

    Attributes:
      label: the method, and in what it differs from others of its name.
      epochs: their numbers, of the seed that had most, ``[epoch]``.
      regret: in [0, 1], ``[seed, epoch]``; after an early stop that of the result.
      accuracy: the true test accuracy of the resulting cell, ``[seed]``.
      chance: of the mean random cell: exact, the mean over the table.
      best: of the best cell.
    """

    label: str
    epochs: np.ndarray
    regret: np.ndarray
    accuracy: np.ndarray
    chance: float
    best: float

    @property
    def final(self) -> tuple[float, float | None]:
        """Mean and sample deviation of `accuracy`; no deviation of one seed."""
        return mean_deviation(self.accuracy)

    @property
    def gain(self) -> float:
        """By how much the mean accuracy is higher than a random cell's."""
        return self.final[0] - self.chance

    @property
    def interval(self) -> Interval | None:
        """Of the mean accuracy, by Student; None of one seed."""
        return mean_interval(np.asarray(self.accuracy, float))

    def cells(self) -> tuple[str, ...]:
        """Its row of the table, in percent."""
        mean, deviation = self.final
        spread = "" if deviation is None else f" +- {100 * deviation:.2f}"
        return (
            self.label,
            str(len(self.accuracy)),
            f"{100 * mean:.2f}{spread}",
            _percent(self.interval),
            f"{100 * (self.best - mean):.2f}",
            f"{100 * self.gain:+.2f}",
        )


HEAD = ["Method", "Seeds", "True test accuracy in %", "95 % of the mean", "Regret"]
HEAD += ["Gain over chance"]


def _percent(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    return f"{100 * interval.low:.2f} to {100 * interval.high:.2f}"


class Pair(NamedTuple):
    """Two groups, the one of the higher mean first.

    Attributes:
      difference: of their mean accuracies.
      p: of Welch's test; None where it is not defined.
      adjusted: p by Holm's rule for all pairs.
    """

    high: Group
    low: Group
    difference: float
    p: float | None
    adjusted: float | None


def pairs_of(groups: Sequence[Group]) -> list[Pair]:
    """Each two groups."""
    ordered = sorted(groups, key=lambda group: -group.final[0])
    both = list(itertools.combinations(ordered, 2))
    ps = [welch_p(a.accuracy, b.accuracy) for a, b in both]
    return [
        Pair(a, b, a.final[0] - b.final[0], p, adjusted)
        for (a, b), p, adjusted in zip(both, ps, _adjusted(ps), strict=True)
    ]


def _adjusted(ps: Sequence[float | None]) -> list[float | None]:
    """By Holm's rule for those that are defined."""
    found = iter(holm([p for p in ps if p is not None]))
    return [None if p is None else next(found) for p in ps]


def groups_of(runs: Sequence[SearchRun]) -> list[Group]:
    """Runs that differ in their seeds alone are one group.

    Raises:
      UserError: for a run that is not finished, or has no table's accuracies.
    """
    by_label: dict[str, list[Seed]] = {}
    for run, label in zip(runs, labels(runs), strict=True):
        for seed in run.seeds:
            if seed.final is None:
                raise UserError(
                    f"{seed.path}: the search is not finished; let it go on"
                )
            rows = seed.epochs
            if not rows or not all(name in row for row in rows for name in _KNOWN):
                raise UserError(
                    f"{seed.path}: no true accuracies in its metrics; expected ended "
                    "epochs of a search with --table FILE from its start"
                )
            _check_whole(seed)
            by_label.setdefault(label, []).append(seed)
    return [_group(label, seeds) for label, seeds in by_label.items()]


def _check_whole(seed: Seed) -> None:
    """Raises a UserError if a row of an epoch is not there: what follows would move."""
    epochs = [row["epoch"] for row in seed.epochs]
    if epochs != list(range(1, len(epochs) + 1)) or not seed.result_row:
        raise UserError(
            f"{seed.path / 'metrics.jsonl'}: has the epochs "
            f"{', '.join(map(str, epochs[:8]))}, not all from 1 on; expected the file "
            "as the search has written it"
        )


def _group(label: str, seeds: list[Seed]) -> Group:
    longest = max((seed.epochs for seed in seeds), key=len)
    results = [seed.result_row for seed in seeds]
    return Group(
        label=label,
        epochs=np.array([row["epoch"] for row in longest]),
        regret=np.array([_regrets(seed, len(longest)) for seed in seeds]),
        accuracy=np.array([row["table_test_accuracy"] for row in results]),
        chance=results[0]["table_mean_test_accuracy"],
        best=results[0]["table_best_test_accuracy"],
    )


def _regrets(seed: Seed, count: int) -> list[float]:
    """After so many epochs; a seed that has stopped early keeps its result."""
    *before, _ = (row["regret"] for row in seed.epochs)
    return before + [seed.result_row["regret"]] * (count - len(before))


def check_one_table(groups: Sequence[Group]) -> None:
    """Raises a UserError unless all accuracies are from one table."""
    first = groups[0]
    for group in groups[1:]:
        if (group.chance, group.best) != (first.chance, first.best):
            raise UserError(
                f"{group.label}: scored by another table than {first.label} (mean "
                f"{100 * group.chance:.2f} % and {100 * first.chance:.2f} %); expected "
                "runs with one table and --table-data"
            )


def sentence(groups: Sequence[Group]) -> str:
    """The outcome in words."""
    best = max(groups, key=lambda group: group.final[0])
    regret = 100 * (best.best - best.final[0])
    text = (
        f"Highest mean true test accuracy: {best.label}, {100 * best.final[0]:.2f} % "
        f"of {len(best.accuracy)} seeds (95 %: {_percent(best.interval)}), "
        f"{100 * best.gain:+.2f} points from the mean random cell "
        f"({100 * best.chance:.2f} %), {regret:.2f} below the best cell "
        f"({100 * best.best:.2f} %)."
    )
    if len(groups) > 1:
        text += (
            f" As the highest of {len(groups)}, picked by these accuracies, it is "
            "rather too high than too low."
        )
    return f"{text} {_against_chance(groups)} {_among(groups)}".rstrip()


def _against_chance(groups: Sequence[Group]) -> str:
    ps = _adjusted([student_p(g.accuracy, g.chance) for g in groups])
    told = [
        (group, p)
        for group, p in zip(groups, ps, strict=True)
        if p is not None and p <= LEVEL
    ]
    words = [
        f"{group.label} {'above' if group.gain > 0 else 'below'} (p = {p:.2g})"
        for group, p in told
    ]
    return (
        "Told from the mean random cell (Student's tests, p by Holm's rule): "
        f"{'; '.join(words) or 'none'}."
    )


def _among(groups: Sequence[Group]) -> str:
    """Which orders are no luck, in words; nothing of one group."""
    pairs = pairs_of(groups)
    if not pairs:
        return ""
    told = [p for p in pairs if p.adjusted is not None and p.adjusted <= LEVEL]
    words = [f"{p.high.label} above {p.low.label} (p = {p.adjusted:.2g})" for p in told]
    text = (
        "Told apart (Welch's tests, p by Holm's rule for "
        f"{len(pairs)} pair{'s' * (len(pairs) > 1)}): {'; '.join(words) or 'none'}."
    )
    if len(told) < len(pairs):
        others = "the others" if told else "them"
        text += f" The order of {others} may be luck."
    return text


def regret_page(groups: Sequence[Group]) -> str:
    """One self-contained page."""
    table = html.table(
        "At the end of the searches; deviation between seeds, gain over the mean of "
        "all cells of the table",
        HEAD,
        [group.cells() for group in groups],
    )
    pairs = [
        (p.high.label, p.low.label, f"{100 * p.difference:.2f}", *map(_p, p[3:]))
        for p in pairs_of(groups)
    ]
    if pairs:
        table += html.table(
            "Each two: p by Welch's test, adjusted by Holm's rule for so many pairs",
            ["Higher mean", "Lower mean", "Difference in points", "p", "Adjusted p"],
            pairs,
        )
    return page(
        kind="regret",
        title="True accuracies by method",
        lead=sentence(groups),
        top="",
        sections=[
            Section("curves", "Regret over the epochs", _curves(groups)),
            Section("table", "At the end", table),
        ],
        missing=[],
    )


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _curves(groups: Sequence[Group]) -> Markup:
    longest = max((group.epochs for group in groups), key=len)
    chance = 100 * (groups[0].best - groups[0].chance)
    lines = [Line("mean random cell", [(e, chance) for e in longest], "base d1")]
    thick = []
    for i, group in enumerate(groups):
        mean, style = 100 * group.regret.mean(axis=0), f"s{i % _STYLES}"
        if len(group.regret) > 1:
            deviation = 100 * group.regret.std(axis=0, ddof=1)
            for edge in (mean - deviation, mean + deviation):
                points = list(zip(group.epochs, edge, strict=True))
                lines.append(Line(group.label, points, f"{style} thin"))
        points = list(zip(group.epochs, mean, strict=True))
        thick.append(Line(group.label, points, style))
    spread = any(len(group.regret) > 1 for group in groups)
    chart = line_chart(
        lines + thick,
        title="Regret over the epochs",
        description=sentence(groups),
        x_label="epoch",
        y_label="points of accuracy",
        y_range=(0.0, 1.0),
    )
    return html.figure(
        "Regret.",
        "By how much the best cell's true test accuracy is higher than that of the "
        "cell derived after each epoch: mean over the seeds; 0 is the best "
        "cell of the table.",
        chart,
        html.legend(
            [
                *((ln.name, f"{ln.points[-1][1]:.2f}", ln.style) for ln in thick),
                ("mean random cell", f"{chance:.2f}", "base d1"),
                *([("one deviation from it", "", "base thin")] if spread else []),
            ]
        ),
    )
