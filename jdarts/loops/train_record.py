"""What the training of one seed writes down, and how its result is read.

``result.json`` in the folder of a training of one seed (and in each ``seed_N``)::

    {
      "kind": "train",
      "name": "train_digits",            the run's name
      "seed": 0,
      "genotype": {...},                 as `Genotype.to_json`
      "parameters": 123456,              weights, without the auxiliary classifier
      "evaluated_on": "test",            or "valid"
      "images": 360,                     that were evaluated on
      "majority": 0.1,                   accuracy of always the most frequent class
      "steps": 330,
      "last": {"epoch": 15, "loss": 0.1, "top1": 0.97, "top5": 1.0},
      "best": {"epoch": 12, ...},        the epoch with the highest top1: the first one
      "classes": {                       of the last epoch, by class in label order
        "names": ["0", ...],
        "images": [36, ...],             evaluated images of each class
        "correct": [35, ...],            of those, taken for their class
        "confusions": [[8, 1, 2], ...]   images of class 8 taken for class 1: two; most
      }                                  frequent first, at most 1000; null: not
                                         counted, for there are more than 1,024 classes
      "gaps": [...]                      what records lack, if they lack something
    }

Losses are in nats, accuracies in [0, 1]. ``last`` is the result; ``best`` was chosen by
the same images that it is measured on, so it is optimistic. In the folder of a training
of several seeds ``result.json`` is ``{"kind": "train", "name": ..., "runs": [RESULT,
...]}``. `read_results` reads both.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jdarts.errors import UserError
from jdarts.io import GenotypeLog, RunFolder, read_json
from jdarts.io.records import COUNT, FINITE, TEXT, misfit
from jdarts.loops.record import Record
from jdarts.loops.tally import Tally
from jdarts.spaces import Genotype
from jdarts.training import Scores

__all__ = [
    "EpochScore",
    "TrainRecord",
    "TrainResult",
    "read_results",
    "result_rows",
    "results_json",
    "settle_genotype",
]

_log = logging.getLogger("jdarts")
KIND = "train"
_SCORE = {"epoch": COUNT, "loss": FINITE, "top1": FINITE, "top5": FINITE}
_FORM = {
    "name": TEXT,
    "seed": COUNT,
    "parameters": COUNT,
    "evaluated_on": ("test", "valid"),
    "images": COUNT,
    "majority": FINITE,
    "steps": COUNT,
    "last": _SCORE,
    "best": _SCORE,
}


@dataclasses.dataclass(frozen=True)
class EpochScore:
    """What a network was worth after an epoch, on the images that it is evaluated on.

    Attributes:
      epoch: from 1.
      loss: mean cross-entropy, in nats.
      top1: share of images whose class has the highest logit, in [0, 1].
      top5: share of those whose class is among the five highest.
    """

    epoch: int
    loss: float
    top1: float
    top5: float

    @classmethod
    def of(cls, epoch: int, sums: Scores) -> "EpochScore":
        """From sums over the images."""
        count = float(sums.count)
        shares = (float(s) / count for s in (sums.loss, sums.correct, sums.correct5))
        return cls(epoch, *shares)


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """How the training of a seed ended; see the module for the fields' meaning."""

    name: str
    seed: int
    genotype: Genotype
    parameters: int
    evaluated_on: str
    images: int
    majority: float
    steps: int
    last: EpochScore
    best: EpochScore
    classes: Tally | None = None
    gaps: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data, as in ``result.json``."""
        data = {"kind": KIND, **dataclasses.asdict(self)}
        data["classes"] = None if self.classes is None else self.classes.to_json()
        if not self.gaps:
            del data["gaps"]
        return data | {"genotype": self.genotype.to_json()}

    @classmethod
    def from_json(cls, data: Any, source: str) -> "TrainResult":
        """Reads what `to_json` wrote.

        Raises:
          UserError: if it is not that.
        """
        try:
            if text := misfit(data, _FORM):
                raise ValueError(text)
            fields: dict[str, Any] = {k: v for k, v in data.items() if k != "kind"}
            fields["genotype"] = Genotype.from_json(fields["genotype"], source)
            for name in ("last", "best"):
                fields[name] = EpochScore(**fields[name])
            if fields.get("classes") is not None:  # as of runs before they were there
                fields["classes"] = Tally.from_json(fields["classes"], source)
            fields["gaps"] = tuple(fields.get("gaps", ()))
            return cls(**fields)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{source}: not the result of a training "
                f"({type(error).__name__}: {error}); expected what jdarts.train wrote"
            ) from None


def results_json(name: str, results: list[TrainResult]) -> dict[str, Any]:
    """Plain data of one seed or several, as in ``result.json``."""
    if len(results) == 1:
        return results[0].to_json()
    return {"kind": KIND, "name": name, "runs": [r.to_json() for r in results]}


def read_results(folder: Path) -> list[TrainResult]:
    """The results of a finished training, one a seed.

    Args:
      folder: of the run, or of one seed of several.

    Raises:
      UserError: if there are none.
    """
    file = folder / "result.json"
    if not file.is_file():
        raise UserError(
            f"{folder}: holds no {file.name}; expected the folder of a finished "
            "training"
        )
    data = read_json(file)
    return [TrainResult.from_json(row, str(file)) for row in result_rows(data, file)]


def result_rows(data: Any, file: Path) -> list[Any]:
    """The results in a ``result.json``, of one seed or several.

    Raises:
      UserError: if there are none.
    """
    rows = data.get("runs", [data]) if isinstance(data, dict) else [data]
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{file}: holds no results; expected what jdarts.train wrote")
    return rows


def settle_genotype(path: Path, genotype: Genotype) -> None:
    """Writes down what is trained, also over a file that says something else.

    Raises:
      UserError: if it cannot be written.
    """
    try:
        log = GenotypeLog(path)
    except UserError as error:
        _log.warning("%s; written again", error)
        with contextlib.suppress(OSError):
            path.unlink()
        log = GenotypeLog(path)
    if log.final != genotype:
        log.finish(genotype)


class TrainRecord(Record):
    """The metrics of the training of one seed.

    Attributes:
      part: what is evaluated on, as metrics are named.
      last: the newest score.
      best: the first of those of whole epochs with the highest top1.
      tally: counts by class that belong to the newest score.
    """

    def __init__(
        self, seed: int, folder: RunFolder, part: str, classes: Sequence[str]
    ) -> None:
        """Opens the file, which may or may not exist.

        Args:
          seed: the seed.
          folder: its folder.
          part: what is evaluated on.
          classes: their names.

        Raises:
          UserError: if it is there and not usable.
        """
        super().__init__(seed, folder, ("train_loss", "train_accuracy"))
        self.part, self._classes = part, classes
        self.tally: Tally | None = None
        self.last: EpochScore | None = None
        self.best: EpochScore | None = None

    @property
    def highest(self) -> EpochScore:
        """The better one of `best` and `last`; there is a score."""
        assert self.last is not None
        if self.best is None or self.last.top1 > self.best.top1:
            return self.last
        return self.best

    def meta(self) -> dict[str, Any]:
        scores = {"last": self.last, "best": self.best}
        tally = None if self.tally is None else self.tally.to_json()
        return (
            super().meta()
            | {"tally": tally}
            | {
                name: None if score is None else dataclasses.asdict(score)
                for name, score in scores.items()
            }
        )

    def restore(self, meta: dict[str, Any]) -> None:
        super().restore(meta)
        self.last, self.best = (
            None if meta[name] is None else EpochScore(**meta[name])
            for name in ("last", "best")
        )
        tally = meta.get("tally")
        self.tally = tally and Tally.from_json(tally, str(self.folder.checkpoints))

    def end_epoch(
        self, step: int, epoch: int, whole: bool, found: Scores | None, due: bool
    ) -> dict[str, float]:
        """Writes down an epoch.

        Args:
          step: steps done.
          epoch: its number, from 1.
          whole: False if the training ends inside it.
          found: sums over the images of the evaluation; None if there was none.
          due: whether it is evaluated also where the training goes on.

        Returns:
          The row of metrics.
        """
        row = self.epoch_means(whole)
        if found is not None:
            self.last = score = EpochScore.of(epoch, found)
            self.tally = Tally.of(np.asarray(found.confusion), self._classes)
            if whole and due:  # so that a run which goes on has the same best one
                self.best = self.highest
            row |= {
                f"{self.part}_loss": score.loss,
                f"{self.part}_accuracy": score.top1,
                f"{self.part}_top5": score.top5,
                f"best_{self.part}_accuracy": self.highest.top1,
            }
        kind = "epoch" if whole else "stop"
        self.metrics.append({"kind": kind, "step": step, "epoch": epoch, **row})
        return row
