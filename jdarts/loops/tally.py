"""What the images of each class were taken for."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Num

from jdarts.errors import UserError

__all__ = ["Tally"]

_MOST = 1000  # confusions that are kept: all of them for up to 32 classes


@dataclasses.dataclass(frozen=True)
class Tally:
    """Counts over evaluated images, by class; bounded for thousands of classes.

    Attributes:
      names: of the classes, in label order.
      images: of each class.
      correct: of those, how many were taken for their class.
      confusions: ``(class, taken for, images)`` by class number, most frequent first;
        of very many only the first 1000. None: they were not counted, as of more than
        1,024 classes.
    """

    names: tuple[str, ...]
    images: tuple[int, ...]
    correct: tuple[int, ...]
    confusions: tuple[tuple[int, int, int], ...] | None

    @classmethod
    def of(
        cls, confusion: Num[np.ndarray, "classes columns"], names: Sequence[str]
    ) -> "Tally":
        """From the counts of `jdarts.training.Scores`: a matrix, or two columns."""
        true, taken = np.nonzero(confusion)
        counts = np.rint(confusion[true, taken]).astype(int)
        matrix = confusion.shape[0] == confusion.shape[1]
        right = true == taken if matrix else taken == 1

        def by_class(chosen: Any) -> tuple[int, ...]:
            found = np.zeros(len(names), int)
            np.add.at(found, true[chosen], counts[chosen])
            return tuple(found.tolist())

        confusions = None
        if matrix:
            wrong = np.stack([true, taken, counts])[:, ~right]
            order = np.lexsort((wrong[1], wrong[0], -wrong[2]))[:_MOST]
            confusions = tuple((t, p, n) for t, p, n in wrong.T[order].tolist())
        return cls(tuple(names), by_class(...), by_class(right), confusions)

    @property
    def worst(self) -> list[int]:
        """The numbers of the classes that have images, lowest accuracy first."""
        shares = {i: c / n for i, (c, n) in enumerate(self._counts()) if n}
        return sorted(shares, key=lambda i: shares[i])

    def _counts(self) -> list[tuple[int, int]]:
        return list(zip(self.correct, self.images, strict=True))

    def plus(self, other: "Tally") -> "Tally":
        """Of the images of both: of two trainings on the same data, say."""
        confusions = None
        if self.confusions is not None and other.confusions is not None:
            counts: dict[tuple[int, int], int] = {}
            for true, taken, count in (*self.confusions, *other.confusions):
                counts[true, taken] = counts.get((true, taken), 0) + count
            rows = sorted((-count, *pair) for pair, count in counts.items())
            confusions = tuple((true, taken, -n) for n, true, taken in rows[:_MOST])
        return Tally(
            self.names,
            tuple(a + b for a, b in zip(self.images, other.images, strict=True)),
            tuple(a + b for a, b in zip(self.correct, other.correct, strict=True)),
            confusions,
        )

    @property
    def text(self) -> str:
        """The three worst classes and, if they were counted, the most frequent
        confusion in words; empty where nothing was confused."""
        worst = [i for i in self.worst if self.correct[i] < self.images[i]][:3]
        if not worst or self.confusions == ():
            return ""
        shown = ", ".join(
            f"{self.names[i]} {100 * self.correct[i] / self.images[i]:.2f} % "
            f"({self.correct[i]} of {self.images[i]})"
            for i in worst
        )
        if self.confusions is None:
            return f"lowest accuracy by class: {shown}"
        true, taken, count = self.confusions[0]
        return (
            f"lowest accuracy by class: {shown}; most often confused: "
            f"{self.names[true]} taken for {self.names[taken]} ({count})"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "names": list(self.names),
            "images": list(self.images),
            "correct": list(self.correct),
            "confusions": None
            if self.confusions is None
            else [list(row) for row in self.confusions],
        }

    @classmethod
    def from_json(cls, data: Any, source: str) -> "Tally":
        """Reads what `to_json` wrote.

        Raises:
          UserError: if it is not that.
        """
        try:
            rows = data["confusions"]
            found = cls(
                tuple(data["names"]),
                tuple(data["images"]),
                tuple(data["correct"]),
                None if rows is None else tuple((t, p, n) for t, p, n in rows),
            )
            found._check()
            return found
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{source}: not counts of classes ({type(error).__name__}: {error}); "
                "expected what jdarts.train wrote"
            ) from None

    def _check(self) -> None:
        """Raises a ValueError unless it is one."""
        size, confusions = len(self.names), self.confusions or ()
        numbers = *self.images, *self.correct, *(n for row in confusions for n in row)
        if any(type(name) is not str for name in self.names) or not size:
            raise ValueError("names: expected texts")
        if any(type(number) is not int or number < 0 for number in numbers):
            raise ValueError("counts: expected whole numbers")
        if not size == len(self.images) == len(self.correct):
            raise ValueError(f"{size} names, expected as many counts")
        if any(c > n for c, n in self._counts()):
            raise ValueError("correct: more than the images")
        if any(max(t, p) >= size for t, p, _ in confusions):
            raise ValueError(f"confusions: expected classes below {size}")
