"""What the run of one seed writes down as it goes on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jdarts.curvature import CurvatureConfig, Stop, early_stop
from jdarts.errors import UserError
from jdarts.io import GenotypeLog, MetricsLog, RunFolder, read_metrics
from jdarts.loops.measures import Measures
from jdarts.problem import Evaluation
from jdarts.spaces import Genotype
from jdarts.types import Arch

__all__ = ["Record", "SeedRecord", "plain_arch", "skip_counts"]


class Record:
    """The metrics of one seed, in its folder.

    Attributes:
      seed: the seed.
      folder: where they are written.
      ended: whether its run is over before the last step; what others of the run still
        do is not its own.
      gaps: a line for each record that lacks what it held when the run was saved.
    """

    def __init__(self, seed: int, folder: RunFolder, averaged: Sequence[str]) -> None:
        """Opens the file, which may or may not exist.

        Args:
          seed: the seed.
          folder: its folder.
          averaged: metrics of a step that an epoch has means of.

        Raises:
          UserError: if it is there and not usable.
        """
        self.seed, self.folder, self.ended = seed, folder, False
        self.metrics = MetricsLog(folder.metrics)
        self.gaps: list[str] = []
        self._averaged = averaged
        self._sums: dict[str, float] = {}  # over the epoch
        self._over = False  # whether that epoch has ended

    def meta(self) -> dict[str, Any]:
        """What a checkpoint has to keep of it: plain data."""
        gaps = {"gaps": self.gaps} if self.gaps else {}
        return {"sums": self._sums, "over": self._over, **gaps}

    def restore(self, meta: dict[str, Any]) -> None:
        """Takes what `meta` returned."""
        self._sums, self._over = meta["sums"], meta.get("over", False)
        self.gaps = list(meta.get("gaps", []))

    def pins(self, step: int, per_epoch: int) -> dict[str, dict[str, Any]]:
        """What its files hold up to a step, in short: file name to pin. A checkpoint
        keeps it, so that `compare` notices what is lost.

        Args:
          step: of the checkpoint.
          per_epoch: steps of an epoch.
        """
        del per_epoch
        return {self.folder.metrics.name: self.metrics.pin(step)}

    def ends(self, name: str, per_epoch: int) -> set[int]:
        """The whole epochs that the file of that name tells of."""
        del name
        return {int(step // per_epoch) for step in self.metrics.ends()}

    def compare(
        self, pins: dict[str, dict[str, Any]], step: int, per_epoch: int
    ) -> list[str]:
        """Notes in `gaps` which files lack what they held when a checkpoint was saved.

        Args:
          pins: what `pins` returned then.
          step: of the checkpoint; later rows are dropped already.
          per_epoch: steps of an epoch.

        Returns:
          The new lines.
        """
        found, now = [], self.pins(step, per_epoch)
        for name, before in pins.items():
            if before == now.get(name, before):
                continue
            whole = set(range(1, step // per_epoch + 1))
            lost = sorted(whole - self.ends(name, per_epoch))
            total = before["rows"] + before.get("last", 0)
            rows = total - now[name]["rows"] - now[name].get("last", 0)
            found.append(_gap(self.folder.path / name, rows, total, lost, step))
        self.gaps += found
        return found

    def rewind(self, step: int) -> None:
        """Drops the rows after a step."""
        self.metrics.truncate_after(step)

    def drop_epoch(self, step: int) -> None:
        """Drops the row of the epoch that ends with a step: it is written again."""
        self.metrics.drop_epoch(step)

    def reopen(self, epoch: int, step: int) -> None:
        """The run goes on: drops results, and what was found after a whole epoch.

        Args:
          epoch: the last whole epoch.
          step: the step at its end.
        """
        self.folder.remove_results()

    def add_step(self, step: int, values: dict[str, float], log: bool) -> None:
        """Counts a step's metrics into the epoch's; `log`: writes them down, too."""
        if self.ended:
            return
        if self._over:
            self._sums, self._over = {}, False
        for name in self._averaged:
            if name in values:
                self._sums[name] = self._sums.get(name, 0.0) + values[name]
        self._sums["steps"] = self._sums.get("steps", 0) + 1
        if log:
            self.metrics.append({"kind": "step", "step": step, **values})

    def epoch_means(self, whole: bool) -> dict[str, float]:
        """The means over the epoch's steps, which all measure the same; after a whole
        one the sums begin at 0."""
        self._over, sums = whole, self._sums
        return {
            f"epoch_{name}": sums[name] / sums["steps"]
            for name in self._averaged
            if name in sums
        }


class SeedRecord(Record):
    """The metrics, architecture and genotypes of the search of one seed.

    Attributes:
      genotypes: the genotypes.
      measured: the newest row of an epoch; empty before there is one. Of a search that
        has stopped, what it says of the genotype is of the epoch that the result is of.
      stop: why it has stopped; None as long as it has not.
    """

    def __init__(
        self,
        seed: int,
        folder: RunFolder,
        measures: Measures,
        baselines: dict[str, float],
        curvature: CurvatureConfig,
    ) -> None:
        """Opens the files, which may or may not exist.

        Args:
          seed: the seed.
          folder: its folder.
          measures: what is measured of the supernet.
          baselines: what every epoch's row also has, as its `majority_accuracy`.
          curvature: when the search stops.

        Raises:
          UserError: if they are there and not usable.
        """
        super().__init__(seed, folder, ("train_loss", "train_accuracy", "valid_loss"))
        self._measures, self._baselines = measures, baselines
        self._curvature, self._eigenvalues = curvature, []
        self.stop: Stop | None = None
        self.genotypes = GenotypeLog(folder.genotype)
        self.measured: dict[str, float] = {}
        self._arch = MetricsLog(folder.arch)

    def meta(self) -> dict[str, Any]:
        own = {"measured": self.measured, "eigenvalues": self._eigenvalues}
        return super().meta() | own

    def restore(self, meta: dict[str, Any]) -> None:
        super().restore(meta)
        self.measured = meta["measured"]
        self._eigenvalues = list(meta.get("eigenvalues", []))
        self._judge()

    def rewind(self, step: int) -> None:
        super().rewind(step)
        self._arch.truncate_after(step)

    def pins(self, step: int, per_epoch: int) -> dict[str, dict[str, Any]]:
        # The row of an unfinished epoch goes when the run goes on: see `reopen`.
        return super().pins(step, per_epoch) | {
            self.folder.arch.name: self._arch.pin(step, ("epoch",)),
            self.folder.genotype.name: self.genotypes.pin(step // per_epoch),
        }

    def ends(self, name: str, per_epoch: int) -> set[int]:
        if name == self.folder.genotype.name:
            return set(self.genotypes.epochs)
        if name == self.folder.arch.name:
            return {int(step // per_epoch) for step in self._arch.ends()}
        return super().ends(name, per_epoch)

    def drop_epoch(self, step: int) -> None:
        super().drop_epoch(step)
        self._arch.drop_epoch(step)

    def reopen(self, epoch: int, step: int) -> None:
        super().reopen(epoch, step)
        self.genotypes.truncate_after(epoch)
        self._arch.truncate_after(step)

    def end_epoch(
        self,
        step: int,
        epoch: int,
        whole: bool,
        found: Evaluation,
        genotype: Genotype,
        arch: dict[str, dict[str, Any]],
        known: dict[str, float],
        eigenvalue: float | None,
    ) -> dict[str, float]:
        """Writes down an epoch, unless the search has stopped before.

        Args:
          step: steps done.
          epoch: its number, from 1.
          whole: False if the search ends inside it.
          found: sums over the validation half.
          genotype: as derived now.
          arch: what it was derived from, as `plain_arch` returns it.
          known: of the genotype: from a table, and what it costs.
          eigenvalue: the curvature, if it was measured.

        Returns:
          The row of metrics; of a search that has stopped before, `measured`.
        """
        if self.ended:
            return self.measured
        row = self.epoch_means(whole)
        row |= self._measures.row(row, found) | self._baselines
        own = known | {f"skips_{kind}": n for kind, n in skip_counts(genotype).items()}
        row |= own
        if eigenvalue is not None:
            row["curvature"] = eigenvalue
            self._eigenvalues.append(eigenvalue)
            self._judge()
        if self.stop is not None:
            row |= {"result_epoch": self.stop.epoch, "growth": self.stop.ratio}
        kind = "epoch" if whole else "stop"
        self.metrics.append({"kind": kind, "step": step, "epoch": epoch, **row})
        self._arch.append({"kind": kind, "step": step, "epoch": epoch, **arch})
        self.genotypes.record(epoch, genotype)
        self.measured = row
        if self.stop is not None:
            earlier = self._row_of(self.stop.epoch)
            self.measured = row | {name: earlier[name] for name in own}
        return row

    def _row_of(self, epoch: int) -> dict[str, Any]:
        """The row of a whole epoch."""
        rows = read_metrics(self.folder.metrics)
        found = [r for r in rows if (r.get("kind"), r.get("epoch")) == ("epoch", epoch)]
        if not found:
            raise UserError(
                f"{self.folder.metrics}: lacks the row of epoch {epoch}, which the "
                "result is of; expected the file as the run has written it"
            )
        return found[0]

    def _judge(self) -> None:
        """Whether the search stops after the newest measurement."""
        self.stop = early_stop(self._curvature, self._eigenvalues)
        self.ended = self.stop is not None


_SHOWN = 8  # epochs in a line


def _gap(path: Path, rows: int, total: int, lost: list[int], step: int) -> str:
    """A record that lacks what it held, in words."""
    if rows <= 0:
        return f"{path}: differs from what the run had written up to step {step}"
    words = ""
    if lost:
        more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
        epochs = "epoch" if len(lost) == 1 else "epochs"
        words = f", also of {epochs} {', '.join(map(str, lost[:_SHOWN]))}{more}"
    return f"{path}: lacks {rows} of {total} rows up to step {step}{words}"


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
    """The number of skip connections in each cell type: many of them are a warning.
    Recurrent cells, which have none, are left out."""
    return {
        kind: sum(c.primitive == "skip_connect" for c in cell.connections)
        for kind, cell in genotype.cells.items()
        if cell.output == "concat"
    }
