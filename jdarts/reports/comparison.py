"""Whether searches beat chance: the page of a comparison, and its part in others."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markupsafe import Markup

from jdarts.reports import html
from jdarts.reports.page import Section, page
from jdarts.reports.run import ComparisonRun
from jdarts.reports.settings import configuration
from jdarts.reports.strip import Lane, strip_chart
from jdarts.reports.svg import Line, line_chart

__all__ = ["comparison", "comparison_report"]


def comparison_report(run: ComparisonRun) -> str:
    """The page of a comparison, whatever state it is in."""
    missing = list(run.damage)
    if run.found is None and not missing:
        missing = ["The outcome: no compare.json; not all networks are trained yet."]
    return page(
        kind="comparison",
        title=run.path.resolve().name,
        lead=run.found["sentence"] if run.found else "Comparison without an outcome.",
        top=_facts(run.found) if run.found else "",
        sections=list(_sections(run)),
        missing=missing,
    )


def _sections(run: ComparisonRun) -> Iterator[Section]:
    if run.found is not None:
        yield Section("outcome", "Searches and chance", comparison(run.found))
    config = {k: v for k, v in run.config.items() if k not in ("kind", "found")}
    yield Section("configuration", "Configuration", configuration(config))


def _facts(found: dict[str, Any]) -> Markup:
    compared = found["comparison"]
    effect = (
        "not defined" if compared["effect"] is None else f"{compared['effect']:+.2f}"
    )
    return html.facts(
        [
            (
                "Difference",
                f"{100 * compared['difference']:+.2f} points",
                _95(compared) or "no interval: too few networks",
            ),
            ("Effect size", effect, "Hedges' g, in deviations of a training"),
            ("Pairs won", f"{compared['wins']:g} of {compared['pairs']}", ""),
            (
                "p",
                f"{compared['p']:.3g}",
                f"least possible: {compared['smallest_p']:.2g}",
            ),
        ]
    )


def comparison(found: dict[str, Any]) -> Markup:
    """Every accuracy, the means, and the verdict.

    Args:
      found: ``compare.json``.
    """
    parts = [
        html.figure(
            "Accuracies.",
            "Of each found genotype, and of the random ones of its size.",
            _strips(found["searches"]),
            html.legend(
                [
                    ("found: each retraining", "", "dot s0"),
                    ("random: each genotype", "", "dot s5"),
                    ("stroke: the mean", "", "base"),
                ]
            ),
        )
    ]
    if found["progress"]:
        parts.append(_progress(found["progress"]))
    return html.grid(parts) + _tables(found)


def _strips(searches: list[dict[str, Any]]) -> Markup:
    lanes = []
    for search in searches:
        own = [100 * value for value in search["accuracies"]]
        random = [100 * _mean(entry["accuracies"]) for entry in search["random"]]
        path, seed = Path(search["path"]), search["seed"]
        # Of a run of several seeds the folder is that of the seed.
        run = path.parent.name if path.name == f"seed_{seed}" else path.name
        name = f"{run}, seed {seed}"
        lanes.append(Lane(f"found: {name}", own, _mean(own), "s0"))
        lanes.append(Lane("random", random, _mean(random), "s5"))
    return strip_chart(
        lanes,
        title="Accuracies of found and random genotypes",
        description="; ".join(f"{lane.name}: mean {lane.mean:.2f} %" for lane in lanes),
        x_label="accuracy in %",
    )


def _progress(rows: list[dict[str, Any]]) -> Markup:
    points = [(row["epoch"], 100 * row["mean"]) for row in rows]
    searches = zip(*(row["searches"] for row in rows), strict=False)
    single = [
        Line(
            "search",
            [
                (row["epoch"], 100 * _mean(entry["accuracies"]))
                for row, entry in zip(rows, entries, strict=True)
            ],
            "s0 thin",
        )
        for entries in searches
    ]
    return html.figure(
        "Progress.",
        "What the genotypes of some epochs are worth when they are retrained: each "
        "search, and the mean.",
        line_chart(
            [*single, Line("mean", points, "s0")],
            title="Accuracy of retrained genotypes over the epochs of the search",
            description="; ".join(f"epoch {x}: {y:.2f} %" for x, y in points),
            x_label="epoch of the search",
            y_label="accuracy in %",
        ),
        html.legend([("each search", "", "s0 thin"), ("their mean", "", "s0")]),
    )


def _tables(found: dict[str, Any]) -> Markup:
    networks = []
    for search in found["searches"]:
        name = f"{search['path']}, seed {search['seed']}"
        networks.append(_network(name, search))
        networks += [_network(entry["network"], entry) for entry in search["random"]]
    sides = [
        (
            name,
            *map(_percent, (side["mean"], *_deviations(side), side["within"])),
            _95(side),
        )
        for name, side in (("Found", found["found"]), ("Random", found["random"]))
    ]
    return html.table(
        "Accuracy in %: deviation of networks' means, of networks without the noise of "
        "retrainings, and of retrainings of one",
        ["Genotypes", "Mean", "Of means", "Of networks", "Of retrainings", "Interval"],
        sides,
    ) + html.details(
        "Every network",
        html.table(
            "Every network",
            ["Network", "Parameters", "Multiply-adds, M", "Mean in %", "Retrainings"],
            networks,
        ),
    )


def _network(name: str, entry: dict[str, Any]) -> tuple[str, ...]:
    return (
        name,
        f"{entry['parameters']:,}",
        f"{entry['multiply_adds'] / 1e6:.2f}",
        _percent(_mean(entry["accuracies"])),
        "  ".join(map(_percent, entry["accuracies"])),
    )


def _95(side: dict[str, Any]) -> str:
    interval = side["interval"]
    if interval is None:
        return ""
    return f"95 %: {100 * interval['low']:.2f} to {100 * interval['high']:.2f}"


def _deviations(side: dict[str, Any]) -> tuple[float | None, float | None]:
    """Of means, and of networks; a file of an earlier version has the first alone."""
    if "of_means" not in side:
        return side["between"], None
    return side["of_means"], side["between"]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
