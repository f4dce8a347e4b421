"""Losses, accuracies and the like over the epochs, of one seed or several."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from jdarts.reports import html
from jdarts.reports.run import Seed
from jdarts.reports.svg import Line, line_chart, short

__all__ = ["percent", "search_curves", "text_train_curves", "train_curves"]

_SEVERAL = [("each seed", "", "base thin"), ("mean of the seeds", "", "base")]
_MOST_STEPS = 400  # in a chart; of more some are left out


def percent(share: float) -> str:
    """``96.11 %``"""
    return f"{100 * share:.2f} %"


def search_curves(seeds: Sequence[Seed]) -> Markup:
    """The charts of a search.

    Args:
      seeds: those with at least one row of `epochs`; of several each is a thin line,
        and their mean a thick one.
    """
    kinds = [name for name in seeds[0].epochs[-1] if name.startswith("skips_")]
    charts = [
        _chart(
            seeds,
            "Losses",
            "Means of each epoch's steps, and the supernet's on the whole validation "
            "half.",
            "loss",
            [
                ("training", "epoch_train_loss", "s0"),
                ("validation", "epoch_valid_loss", "s1"),
                ("supernet, validation", "supernet_loss", "s1 d1"),
            ],
        ),
        _chart(
            seeds,
            "Perplexities",
            "Of training segments before their step, of the supernet on the validation "
            "text, and what counting words and pairs of words achieves there.",
            "perplexity",
            [
                ("training", "train_perplexity", "s0"),
                ("supernet, validation", "supernet_perplexity", "s1"),
                ("unigrams", "unigram_perplexity", "base d1"),
                ("bigrams", "bigram_perplexity", "base d2"),
            ],
        ),
        _chart(
            seeds,
            "Accuracies",
            "Of training batches before their step, and of the supernet on the "
            "validation half.",
            "accuracy in %",
            [
                ("training", "epoch_train_accuracy", "s0"),
                ("supernet, validation", "supernet_accuracy", "s1"),
                ("most frequent class", "majority_accuracy", "base d1"),
            ],
            factor=100.0,
        ),
        _regret(seeds),
        _costs(seeds),
        _chart(
            seeds,
            "Skip connections",
            "In the cells derived after each epoch; many of them are a warning of "
            "collapse.",
            "number",
            [
                (name.removeprefix("skips_"), name, f"s{i} d{i}")
                for i, name in enumerate(kinds)
            ],
            y_range=(0.0, 1.0),
            whole=True,
        ),
        _chart(
            seeds,
            "Curvature",
            "The largest eigenvalue of the Hessian of the validation loss in alpha; "
            "where it grows, the derived cells are getting worse.",
            "eigenvalue",
            [("curvature", "curvature", "s0")],
        ),
        _gradients(seeds),
    ]
    return html.grid(chart for chart in charts if chart)


def _regret(seeds: Sequence[Seed]) -> Markup:
    """Nothing of a search without a table of accuracies."""
    if "regret" not in seeds[0].epochs[-1]:
        return Markup("")
    return _chart(
        seeds,
        "Regret",
        "By how much the test accuracy of the best cell of the table is higher than "
        "that of the cell derived after each epoch, and than the mean of all cells.",
        "points of accuracy",
        [
            ("derived cell", "regret", "s0"),
            ("mean random cell", "random_regret", "base d1"),
        ],
        factor=100.0,
        y_range=(0.0, 1.0),
    )


def _costs(seeds: Sequence[Seed]) -> Markup:
    """Nothing of a search that does not reckon costs."""
    return _chart(
        seeds,
        "Cost",
        "Of the network derived after each epoch, and expected of the relaxed one, in "
        "the unit of --hardware.cost.",
        "cost",
        [
            ("expected", "expected_cost", "s0"),
            ("derived network", "derived_cost", "s1"),
            ("target", "target_cost", "base d1"),
        ],
    )


def train_curves(seeds: Sequence[Seed], part: str) -> Markup:
    """The charts of a training.

    Args:
      seeds: as for `search_curves`.
      part: what was evaluated on: ``"test"`` or ``"valid"``.
    """
    words = {"test": "test", "valid": "validation"}[part]
    charts = [
        _chart(
            seeds,
            "Losses",
            f"Means of each epoch's steps, with what the recipe adds to them, and on "
            f"all {words} images.",
            "loss",
            [
                ("training", "epoch_train_loss", "s0"),
                (words, f"{part}_loss", "s1"),
            ],
        ),
        _chart(
            seeds,
            "Accuracies",
            "Of altered training batches before their step, and on all "
            f"{words} images.",
            "accuracy in %",
            [
                ("training", "epoch_train_accuracy", "s0"),
                (f"{words}, top-5", f"{part}_top5", "s1 d1"),
                (words, f"{part}_accuracy", "s1"),
            ],
            factor=100.0,
        ),
        _gradients(seeds),
        _rates(seeds),
    ]
    return html.grid(chart for chart in charts if chart)


def text_train_curves(seeds: Sequence[Seed]) -> Markup:
    """The charts of the training of a recurrent cell; seeds as for `search_curves`."""
    charts = [
        _chart(
            seeds,
            "Perplexities",
            "Of training segments with dropout before their step, on the validation "
            "text, and what counting words and pairs of words achieves there.",
            "perplexity",
            [
                ("training", "train_perplexity", "s0"),
                ("validation", "valid_perplexity", "s1"),
                ("unigrams", "unigram_perplexity", "base d1"),
                ("bigrams", "bigram_perplexity", "base d2"),
            ],
        ),
        _gradients(seeds),
        _rates(seeds),
    ]
    return html.grid(chart for chart in charts if chart)


def _chart(
    seeds: Sequence[Seed],
    title: str,
    text: str,
    y_label: str,
    series: list[tuple[str, str, str]],
    *,
    factor: float = 1.0,
    y_range: tuple[float, float] | None = None,
    whole: bool = False,
) -> Markup:
    """One chart; a series is ``(name, column, style)``."""
    thin, thick = [], []
    for name, column, style in series:
        found = [_column(seed, column, factor) for seed in seeds]
        found = [points for points in found if points]
        if not any(math.isfinite(y) for points in found for _, y in points):
            continue  # an older run, or numbers that were never finite
        if len(found) > 1:
            thin += [Line(name, points, f"{style} thin") for points in found]
        thick.append(Line(name, _mean(found), style))
    if not thick:
        return Markup("")
    last = ", ".join(f"{line.name} {short(line.points[-1][1])}" for line in thick)
    mean = "mean of the seeds at the end: " if len(seeds) > 1 else "at the end: "
    return html.figure(
        f"{title}.",
        text,
        line_chart(
            thin + thick,
            title=f"{title} over the epochs",
            description=mean + last,
            x_label="epoch",
            y_label=y_label,
            y_range=y_range,
            whole=whole,
        ),
        html.legend(
            [
                *((ln.name, short(ln.points[-1][1]), ln.style) for ln in thick),
                *(_SEVERAL if thin else []),
            ]
        ),
    )


def _column(seed: Seed, name: str, factor: float) -> list[tuple[float, float]]:
    rows = [row for row in seed.epochs if name in row]
    return [(row["epoch"], factor * row[name]) for row in rows]


def _mean(lines: list[list[tuple[float, float]]]) -> list[tuple[float, float]]:
    """Over the lines, as far as all of them go."""
    return [
        (points[0][0], math.fsum(y for _, y in points) / len(points))
        for points in zip(*lines, strict=False)
    ]


def _gradients(seeds: Sequence[Seed]) -> Markup:
    """Norms of the gradients at the steps that were written down."""
    words = {"gradient_norm": "weights", "arch_gradient_norm": "architecture"}
    of = f", of seed {seeds[0].seed}" if len(seeds) > 1 else ""
    return _step_chart(
        "Gradients",
        f"Norms before clipping{of}, as powers of ten.",
        "log10 of the norm",
        [
            Line(name, [(x, math.log10(max(y, 1e-12))) for x, y in points], f"s{i}")
            for i, (column, name) in enumerate(words.items())
            if (points := _steps(seeds[0], column))
        ],
    )


def _rates(seeds: Sequence[Seed]) -> Markup:
    """The learning rate: the same for all seeds."""
    points = _steps(seeds[0], "lr")
    lines = [Line("learning rate", points, "s0")] if points else []
    return _step_chart("Learning rate", "Of the weights.", "learning rate", lines)


def _step_chart(title: str, text: str, y_label: str, lines: list[Line]) -> Markup:
    if not lines or len(lines[0].points) < 2:
        return Markup("")
    first, last = (lines[0].points[i][0] for i in (0, -1))
    return html.figure(
        f"{title}.",
        text,
        line_chart(
            lines,
            title=f"{title} over the steps",
            description=f"From step {first} to step {last}.",
            x_label="step",
            y_label=y_label,
        ),
        html.legend((line.name, "", line.style) for line in lines),
    )


def _steps(seed: Seed, name: str) -> list[tuple[float, float]]:
    """A column of the steps, thinned out to what can be drawn."""
    rows = [row for row in seed.steps if name in row]
    rows = rows[:: max(1, -(-len(rows) // _MOST_STEPS))]
    return [(row["step"], row[name]) for row in rows]
