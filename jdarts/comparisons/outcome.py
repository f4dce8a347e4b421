"""What a comparison came to: plain data, and tables."""

import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import rich.box
import rich.console
import rich.table

from jdarts.comparisons.plan import Entry, Plan
from jdarts.comparisons.searches import Search
from jdarts.phase import phased
from jdarts.statistics import (
    LEVEL,
    Comparison,
    Interval,
    Summary,
    compare,
    summarise,
)

__all__ = ["Outcome", "outcome"]

_WIDTH = 120
# Deviations: of networks' means; of networks without the noise of trainings; of those.
_DEVIATIONS = ("s of means", "of networks", "of trainings")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A finished comparison.

    Attributes:
      searches: the searches.
      plan: the genotypes.
      accuracies: network to the accuracy of each retraining, in [0, 1].
      found: the found genotypes together.
      chance: the random genotypes together.
      comparison: both against each other.
      progress: epoch to the genotypes of that epoch together.
    """

    searches: Sequence[Search]
    plan: Plan
    accuracies: Mapping[str, Sequence[float]]
    found: Summary
    chance: Summary
    comparison: Comparison
    progress: dict[int, Summary]

    def to_json(self) -> dict[str, Any]:
        """Plain data; accuracies in [0, 1]."""
        rows = zip(self.searches, self.plan.found, self.plan.random, strict=True)
        return {
            "verdict": self.comparison.verdict,
            "sentence": self.comparison.sentence(),
            "comparison": _plain(self.comparison),
            "found": _plain(self.found),
            "random": _plain(self.chance),
            "searches": [
                {
                    "path": str(search.path),
                    "seed": search.seed,
                    **self._entry(found),
                    "random": [self._entry(entry) for entry in random],
                }
                for search, found, random in rows
            ],
            "progress": [
                {
                    "epoch": epoch,
                    **_plain(summary),
                    "searches": [self._entry(e) for e in self.plan.progress[epoch]],
                }
                for epoch, summary in self.progress.items()
            ],
        }

    def _entry(self, entry: Entry) -> dict[str, Any]:
        tries = {} if entry.tries is None else {"tries": entry.tries}
        return {
            "network": entry.network,
            **entry.cost._asdict(),
            **tries,
            "accuracies": list(self.accuracies[entry.network]),
            "genotype": entry.genotype.to_json(),
        }

    def text(self) -> str:
        """Tables, and the sentence."""
        out = io.StringIO()
        console = rich.console.Console(file=out, width=_WIDTH, highlight=False)
        console.print(self._networks())
        console.print(self._sides())
        if self.progress:
            console.print(self._progress())
        for line in self._effect():
            console.print(line, soft_wrap=True)
        console.print(f"\n{self.comparison.sentence()}", soft_wrap=True)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"

    def _networks(self) -> rich.table.Table:
        """A row for each found genotype, then for its random ones."""
        table = _table("network", "parameters", "mult-adds, M", "accuracy %", "mean")
        rows = zip(self.searches, self.plan.found, self.plan.random, strict=True)
        for search, found, random in rows:
            self._row(table, f"{search.path} (seed {search.seed})", found)
            for entry in random:
                self._row(table, f"  {entry.network} (draw {entry.tries})", entry)
        return table

    def _row(self, table: rich.table.Table, name: str, entry: Entry) -> None:
        values = 100 * np.asarray(self.accuracies[entry.network])
        table.add_row(
            name,
            f"{entry.cost.parameters:,}",
            f"{entry.cost.multiply_adds / 1e6:.3g}",
            "  ".join(f"{value:.2f}" for value in values),
            f"{values.mean():.2f}",
        )

    def _sides(self) -> rich.table.Table:
        table = _table(
            "accuracy %", "networks", "parameters", "mean", *_DEVIATIONS, "95 % of mean"
        )
        random = [entry for entries in self.plan.random for entry in entries]
        for name, summary, entries in (
            ("found", self.found, self.plan.found),
            ("random", self.chance, random),
        ):
            size = np.mean([entry.cost.parameters for entry in entries])
            table.add_row(name, str(summary.count), f"{size:,.0f}", *_cells(summary))
        return table

    def _progress(self) -> rich.table.Table:
        table = _table("genotypes of epoch", "mean %", *_DEVIATIONS, "95 % of mean")
        for epoch, summary in self.progress.items():
            table.add_row(str(epoch), *_cells(summary))
        return table

    def _effect(self) -> list[str]:
        found, searches = self.comparison, len(self.searches)
        lines = []
        if self.found.count < searches:
            lines.append(
                f"different networks found by the {searches} searches: "
                f"{self.found.count}; each is one piece of evidence, weighted by how "
                "often it was found"
            )
        lines += [
            f"difference: {100 * found.difference:+.2f} points; 95 % interval, of all "
            f"that the test does not reject: {_difference(found)}",
            "effect size (Hedges' g, in deviations of one training of a network): "
            + ("not defined" if found.effect is None else f"{found.effect:+.2f}"),
            f"better than a random genotype of its size: {found.wins:g} of "
            f"{found.pairs}",
            f"p = {found.p:.3g}, permutation of genotypes, twice the smaller tail "
            f"(least possible: {found.smallest_p:.2g})",
        ]
        return lines


@phased("comparing")
def outcome(
    searches: Sequence[Search],
    plan: Plan,
    accuracies: Mapping[str, Sequence[float]],
    seed: int = 0,
) -> Outcome:
    """Compares once all networks are trained.

    Args:
      searches: the searches.
      plan: the genotypes.
      accuracies: network to the accuracy of each retraining; equally many of each.
      seed: of the permutations.
    """

    def samples(entries: Sequence[Entry]) -> np.ndarray:
        return np.array([accuracies[entry.network] for entry in entries])

    def names(entries: Sequence[Entry]) -> list[str]:
        return [entry.network for entry in entries]

    found = samples(plan.found)
    random = np.array([samples(entries) for entries in plan.random])
    together = random.reshape(-1, random.shape[-1])
    return Outcome(
        searches=searches,
        plan=plan,
        accuracies=accuracies,
        found=summarise(found, names(plan.found)),
        chance=summarise(together),
        comparison=compare(found, random, seed, names(plan.found)),
        progress={
            epoch: summarise(samples(entries), names(entries))
            for epoch, entries in plan.progress.items()
        },
    )


def _plain(value: Any) -> Any:
    return dataclasses.asdict(value)


def _table(*heads: str) -> rich.table.Table:
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left")
    return table


def _cells(summary: Summary) -> list[str]:
    values = (summary.mean, summary.of_means, summary.between, summary.within)
    numbers = ["-" if value is None else f"{100 * value:.2f}" for value in values]
    interval = summary.interval
    return [*numbers, "-" if interval is None else _interval(interval, ".2f")]


def _difference(found: Comparison) -> str:
    if found.interval is None:
        return (
            f"none, as p cannot be below {found.smallest_p:.2g}, which is not {LEVEL}"
        )
    return _interval(found.interval, "+.2f")


def _interval(interval: Interval, form: str) -> str:
    return f"{100 * interval.low:{form}} to {100 * interval.high:{form}}"
