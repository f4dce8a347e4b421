"""How a search proceeds: validation and genotypes after every epoch.

Knows no method by name.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from jdarts.config import SearchConfig, to_json
from jdarts.io import RunFolder
from jdarts.loops.record import SeedRecord, plain_arch
from jdarts.loops.run import Run
from jdarts.loops.setup import Setup, programs, setup
from jdarts.spaces import Genotype
from jdarts.types import Arch, PyTree

__all__ = ["SearchResult", "Setup", "run_search", "setup"]


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """How the search of a seed ended.

    Attributes:
      seed: the seed.
      folder: where its results are.
      genotype: the derived architecture.
      accuracy: of the supernet on the validation half, in [0, 1].
      majority: accuracy of always answering that half's most frequent class.
      steps: steps done.
      stopped: exit status of the signal that stopped the search before its end; 0 if
        it came to its end.
    """

    seed: int
    folder: RunFolder
    genotype: Genotype
    accuracy: float | None
    majority: float
    steps: int
    stopped: int = 0


class _Search(Run[SeedRecord]):
    """The run of a search."""

    task = "search"
    program_names: tuple[str, str] = ("search step", "validation")
    shown = {"train_loss": "train", "valid_loss": "valid"}  # noqa: RUF012
    advice = "--method.weights.lr, --method.arch.lr"

    def functions(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        return programs(self.config, self.start)

    def weights(self) -> PyTree:
        return self.state.w, self.state.arch

    def end_epoch(self, epoch: int, whole: bool) -> str:
        """Evaluates and derives."""
        with self.timing.part("evaluation"):
            found = self.evaluate()
        table = self.start.table
        with self.timing.part("record"):
            rows = [
                record.end_epoch(
                    self.step,
                    epoch,
                    whole,
                    sums,
                    genotype,
                    arch,
                    {} if table is None else table.look_up(genotype),
                )
                for record, sums, genotype, arch in zip(
                    self.records, found, self.discretize(), self.archs(), strict=True
                )
            ]
        means = {name: np.mean([row[name] for row in rows]) for name in rows[0]}
        text = (
            f"train loss {means['epoch_train_loss']:.4f}, "
            f"valid loss {means['epoch_valid_loss']:.4f}, "
            f"supernet accuracy {100 * means['supernet_accuracy']:.2f} %"
        )
        if table is not None:
            text += f", derived cell {100 * means['table_test_accuracy']:.2f} %"
        return text

    def discretize(self) -> list[Genotype]:
        return [self.start.method.discretize(arch) for arch in self._archs()]

    def archs(self) -> list[dict[str, dict[str, Any]]]:
        weights = self.start.method.weights
        return [plain_arch(arch, weights(arch)) for arch in self._archs()]

    def _archs(self) -> list[Arch]:
        return self.start.seeds.each(self.state.arch)


def run_search(
    config: SearchConfig,
    start: Setup,
    folder: RunFolder,
    say: Callable[[str], None] = lambda line: print(line, flush=True),
) -> list[SearchResult]:
    """Searches, from the folder's last checkpoint on if it has one.

    Args:
      config: the configuration that the folder was opened with.
      start: what `setup` made of it: before the folder is opened, so that wrong data
        or settings leave no folder behind.
      folder: where everything is written; with several seeds, what is a seed's own goes
        to a folder of its own in it.
      say: prints one line.

    Returns:
      One result a seed.

    Raises:
      UserError: if what the folder holds is not usable, or it cannot be written.
      RunError: if a loss is not finite.
    """
    records = _records(config, start, folder)
    search = _Search(config, start, folder, records, say)
    stop, results = search.proceed(), []
    for record, genotype in zip(records, search.discretize(), strict=True):
        if stop.signal is None:
            record.genotypes.finish(genotype)
        results.append(
            SearchResult(
                seed=record.seed,
                folder=record.folder,
                genotype=genotype,
                accuracy=record.accuracy,
                majority=record.majority,
                steps=search.step,
                stopped=stop.exit_status,
            )
        )
    return results


def _records(config: SearchConfig, start: Setup, folder: RunFolder) -> list[SeedRecord]:
    """One a seed: in the run's folder, or of several in a folder each."""
    folders = [folder]
    if config.seeds is not None:
        folders = [
            folder.part(f"seed_{seed}", to_json(config.with_seed(seed)))
            for seed in config.seeds
        ]
    return list(map(SeedRecord, config.all_seeds, folders, _majorities(start)))


def _majorities(start: Setup) -> list[float]:
    """Each seed's baseline."""
    halves = start.seeds.each(start.data.valid)
    labels = [start.images.train_labels[half] for half in halves]
    return [float(np.bincount(own).max() / len(own)) for own in labels]
