"""What the search of one seed writes down as it goes on."""

from typing import Any

import numpy as np

from jdarts.io import GenotypeLog, MetricsLog, RunFolder
from jdarts.problem import Evaluation
from jdarts.spaces import Genotype
from jdarts.types import Arch

__all__ = ["SeedRecord", "plain_arch", "skip_counts"]

_AVERAGED = ("train_loss", "train_accuracy", "valid_loss")


class SeedRecord:
    """The metrics, architecture and genotypes of one seed, in its folder.

    Attributes:
      seed: the seed.
      folder: where they are written.
      majority: accuracy of always answering the validation half's most frequent class.
      genotypes: the genotypes.
      accuracy: of the supernet when it was measured last, in [0, 1].
    """

    def __init__(self, seed: int, folder: RunFolder, majority: float) -> None:
        """Opens the files, which may or may not exist.

        Raises:
          UserError: if they are there and not usable.
        """
        self.seed, self.folder, self.majority = seed, folder, majority
        self.genotypes = GenotypeLog(folder.genotype)
        self.accuracy: float | None = None
        self._metrics, self._arch = MetricsLog(folder.metrics), MetricsLog(folder.arch)
        self._sums: dict[str, float] = {}  # over the epoch, for its means

    def meta(self) -> dict[str, Any]:
        """What a checkpoint has to keep of it: plain data."""
        return {"sums": self._sums, "accuracy": self.accuracy}

    def restore(self, meta: dict[str, Any]) -> None:
        """Takes what `meta` returned."""
        self._sums, self.accuracy = meta["sums"], meta["accuracy"]

    def rewind(self, step: int) -> None:
        """Drops the rows after a step."""
        self._metrics.truncate_after(step)
        self._arch.truncate_after(step)

    def reopen(self, epoch: int, step: int) -> None:
        """The search goes on: drops results, and what was found after a whole epoch.

        Args:
          epoch: the last whole epoch.
          step: the step at its end.
        """
        self.folder.remove_results()
        self.genotypes.truncate_after(epoch)
        self._arch.truncate_after(step)

    def add_step(self, step: int, values: dict[str, float], log: bool) -> None:
        """Counts a step's metrics into the epoch's; `log`: writes them down, too."""
        for name in _AVERAGED:
            self._sums[name] = self._sums.get(name, 0.0) + values[name]
        self._sums["steps"] = self._sums.get("steps", 0) + 1
        if log:
            self._metrics.append({"kind": "step", "step": step, **values})

    def end_epoch(
        self,
        step: int,
        epoch: int,
        whole: bool,
        found: Evaluation,
        genotype: Genotype,
        arch: dict[str, dict[str, Any]],
    ) -> dict[str, float]:
        """Writes down an epoch.

        Args:
          step: steps done.
          epoch: its number, from 1.
          whole: False if the search ends inside it.
          found: sums over the validation half.
          genotype: as derived now.
          arch: what it was derived from, as `plain_arch` returns it.

        Returns:
          The row of metrics.
        """
        steps, count = self._sums["steps"], float(found.count)
        row = {f"epoch_{name}": self._sums[name] / steps for name in _AVERAGED}
        if whole:
            self._sums = {}
        self.accuracy = float(found.correct) / count
        row |= {
            "supernet_loss": float(found.loss) / count,
            "supernet_accuracy": self.accuracy,
            "majority_accuracy": self.majority,
        }
        row |= {f"skips_{kind}": n for kind, n in skip_counts(genotype).items()}
        kind = "epoch" if whole else "stop"
        self._metrics.append({"kind": kind, "step": step, "epoch": epoch, **row})
        self._arch.append({"kind": kind, "step": step, "epoch": epoch, **arch})
        self.genotypes.record(epoch, genotype)
        return row


def plain_arch(arch: Arch, mix: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """An architecture as plain data for JSON.

    Args:
      arch: its parameters.
      mix: the mixing weights that they give.

    Returns:
      ``alpha`` and ``beta`` as in `Arch`, and ``mix``, each by cell type.
    """
    parts = {"alpha": arch.alpha, "beta": arch.beta, "mix": mix}
    return {
        name: {kind: _shortest(array) for kind, array in sorted(part.items())}
        for name, part in parts.items()
    }


def _shortest(array: Any) -> list[Any]:
    """Nested lists of the numbers with no more digits than their type needs."""
    return np.asarray(array).astype(str).astype(np.float64).tolist()


def skip_counts(genotype: Genotype) -> dict[str, int]:
    """The number of skip connections in each cell type: many of them are a warning."""
    return {
        kind: sum(c.primitive == "skip_connect" for c in cell.connections)
        for kind, cell in genotype.cells.items()
    }
