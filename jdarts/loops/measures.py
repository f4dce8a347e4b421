"""What is measured of a supernet, and how it is told: by the kind of data."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jdarts.problem import Evaluation

__all__ = ["IMAGES", "TEXT", "Measures", "perplexity", "with_cost", "with_table"]

Row = dict[str, float]


class Measures(NamedTuple):
    """How to put sums into words.

    Attributes:
      row: ``row(means, found)``: what an epoch's row of metrics gets, from the means of
        its steps and the sums over the validation data.
      line: the line that is printed of an epoch, from its row.
      sentence: the result of a seed in words, from its last row.
      heading: of a table of several seeds, from a last row.
      columns: heads and figures of that table, from a last row.
    """

    row: Callable[[Row, Evaluation], Row]
    line: Callable[[Row], str]
    sentence: Callable[[Row], str]
    heading: Callable[[Row], str]
    columns: Callable[[Row], Row]


def _image_row(means: Row, found: Evaluation) -> Row:
    del means
    count = float(found.count)
    return {
        "supernet_loss": float(found.loss) / count,
        "supernet_accuracy": float(found.correct) / count,
    }


def _losses(row: Row) -> str:
    losses = f"train loss {row['epoch_train_loss']:.4f}"
    if "epoch_valid_loss" in row:  # not while the architecture stays as it is
        losses += f", valid loss {row['epoch_valid_loss']:.4f}"
    return losses


def _image_line(row: Row) -> str:
    line = f"{_losses(row)}, supernet accuracy {100 * row['supernet_accuracy']:.2f} %"
    if "curvature" in row:
        line += f", curvature {row['curvature']:.4g}"
    return line


IMAGES = Measures(
    row=_image_row,
    line=_image_line,
    sentence=lambda row: (
        "supernet accuracy on the validation half: "
        f"{100 * row['supernet_accuracy']:.2f} % (always the most frequent class: "
        f"{100 * row['majority_accuracy']:.2f} %)"
    ),
    heading=lambda row: (
        "supernet accuracy on the validation half in % (always the most frequent "
        f"class: {100 * row['majority_accuracy']:.2f} %)\n"
        "and number of skip connections in each cell (std: of a sample)"
    ),
    columns=lambda row: (
        {"accuracy": 100 * row["supernet_accuracy"]}
        | {
            n.removeprefix("skips_"): x
            for n, x in row.items()
            if n.startswith("skips_")
        }
    ),
)


def _text_row(means: Row, found: Evaluation) -> Row:
    row = _image_row(means, found)
    return row | {
        "supernet_perplexity": perplexity(row["supernet_loss"]),
        "train_perplexity": perplexity(means["epoch_train_loss"]),
    }


def perplexity(loss: float) -> float:
    """``exp(loss)``, finite, so that it can be written down. A training loss has its
    penalties in it."""
    return math.exp(min(loss, 700.0)) if loss == loss else np.finfo(float).max


def _counted(row: Row) -> str:
    return (
        f"unigrams: {row['unigram_perplexity']:.2f}, bigrams: "
        f"{row['bigram_perplexity']:.2f}"
    )


TEXT = Measures(
    row=_text_row,
    line=lambda row: (
        f"{_losses(row)}, supernet perplexity {row['supernet_perplexity']:.2f}"
    ),
    sentence=lambda row: (
        "supernet perplexity on the validation text: "
        f"{row['supernet_perplexity']:.2f} ({_counted(row)})"
    ),
    heading=lambda row: (
        f"supernet perplexity on the validation text ({_counted(row)}; std: of a "
        "sample)"
    ),
    columns=lambda row: {"perplexity": row["supernet_perplexity"]},
)


def with_table(measures: Measures) -> Measures:
    """The same, with what the derived cell is worth by a table of trained cells.

    Args:
      measures: of the supernet.
    """

    def figures(row: Row) -> dict[str, float]:
        true, regret = row["table_test_accuracy"], row["regret"]
        return {"true": 100 * true, "regret": 100 * regret}

    def line(row: Row) -> str:
        own = figures(row)
        return (
            f"{measures.line(row)}, derived cell: true accuracy {own['true']:.2f} %, "
            f"regret {own['regret']:.2f}"
        )

    def sentence(row: Row) -> str:
        own, mean = figures(row), 100 * row["table_mean_test_accuracy"]
        return (
            f"true test accuracy of the derived cell: {own['true']:.2f} %, regret "
            f"{own['regret']:.2f} points below the best cell (mean of all cells: "
            f"{mean:.2f} %)\n{measures.sentence(row)}"
        )

    return measures._replace(
        line=line,
        sentence=sentence,
        heading=lambda row: (
            f"{measures.heading(row)}\ntrue: test accuracy in % of the derived cell by "
            "the table; regret: points below its best cell"
        ),
        columns=lambda row: figures(row) | measures.columns(row),
    )


def with_cost(measures: Measures, describe: Callable[[Row], str]) -> Measures:
    """The same, with what the derived network costs.

    Args:
      measures: of the supernet.
      describe: the costs of a row in words.
    """
    return measures._replace(
        line=lambda row: f"{measures.line(row)}, {describe(row)}",
        sentence=lambda row: f"{measures.sentence(row)}\n{describe(row)}",
        heading=lambda row: (
            f"{measures.heading(row)}\ncost: of each derived network, in the unit of "
            "--hardware.cost"
        ),
        columns=lambda row: measures.columns(row) | {"cost": row["derived_cost"]},
    )
