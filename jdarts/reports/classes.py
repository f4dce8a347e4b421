"""What the images of each class were taken for, in the report of a training."""

import functools
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from jdarts.io.data_facts import DataFacts
from jdarts.loops.tally import Tally
from jdarts.reports import html

__all__ = ["class_facts", "classes"]

_SHOWN = 20  # classes, and confusions, of many
_NAMED = 10  # classes, in a line
_MATRIX = 12  # classes that fit side by side


def class_facts(facts: DataFacts | None) -> Iterator[tuple[str, str, str]]:
    """How many classes the images of a run have, and what they are called."""
    if facts is not None:
        names = facts.classes
        more = ", ..." if len(names) > _NAMED else ""
        yield "Classes", str(len(names)), ", ".join(names[:_NAMED]) + more


def classes(tallies: Sequence[Tally]) -> Markup:
    """Accuracy by class, and what was confused: of few classes the whole matrix, of
    many the worst classes and the most frequent confusions.

    Args:
      tallies: at least one, of trainings on the same data; they are added up, and
        the captions say so.
    """
    tally, count = functools.reduce(Tally.plus, tallies), len(tallies)
    of = f", of {count} trainings together" if count > 1 else ""
    return _accuracies(tally, of) + _confused(tally, of)


def _accuracies(tally: Tally, of: str) -> Markup:
    many = len(tally.names) > _SHOWN
    shown = tally.worst[:_SHOWN] if many else range(len(tally.names))
    rows = [(tally.names[i], str(tally.images[i]), _share(tally, i)) for i in shown]
    caption = "Accuracy by class, in %, after the last epoch" + of
    if many:
        caption += f": the worst {_SHOWN} of {len(tally.names)} classes"
    return html.table(caption, ["Class", "Images", "Accuracy"], rows)


def _share(tally: Tally, i: int) -> str:
    images = tally.images[i]
    return f"{100 * tally.correct[i] / images:.2f}" if images else "no images"


def _confused(tally: Tally, of: str) -> Markup:
    if tally.confusions is None:
        text = "What was taken for what is not counted for so many classes."
        return html.paragraph(text, "note")
    if not tally.confusions:
        return html.paragraph(f"No image was taken for another class{of}.", "note")
    if len(tally.names) <= _MATRIX:
        counts = {(t, p): n for t, p, n in tally.confusions}
        counts |= {(i, i): n for i, n in enumerate(tally.correct)}
        size = range(len(tally.names))
        return html.table(
            "Confusion matrix: images of the class of a row that were taken for the "
            f"class of a column{of}",
            ["Class", *tally.names],
            [
                (tally.names[t], *(str(counts.get((t, p), 0)) for p in size))
                for t in size
            ],
        )
    rows = [
        (tally.names[t], tally.names[p], str(n))
        for t, p, n in tally.confusions[:_SHOWN]
    ]
    return html.table(
        f"The most frequent confusions{of}",
        ["Class", "Taken for", "Images"],
        rows,
        words=2,
    )
