"""How a search proceeds: validation and genotypes after every epoch.

Knows no method by name.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jdarts import compile
from jdarts.config import AnySearchConfig, SearchConfig, to_json
from jdarts.curvature import Stop
from jdarts.errors import UserError
from jdarts.io import RunFolder
from jdarts.loops.measures import Measures
from jdarts.loops.record import SeedRecord, plain_arch
from jdarts.loops.run import Run
from jdarts.loops.setup import Setup, setup_stage
from jdarts.loops.setup import setup as image_setup
from jdarts.loops.stages import Stage, next_stage, read_stage, write_stage
from jdarts.loops.text_setup import TextSetup, text_setup
from jdarts.methods import check_extension
from jdarts.methods.optimizers import cosine_by_epoch
from jdarts.phase import phase
from jdarts.spaces import Genotype, get_space
from jdarts.types import Arch, PyTree

__all__ = ["AnySetup", "SearchResult", "Setup", "run_search", "setup"]

AnySetup = Setup | TextSetup

# What a space is for to what a search in it starts from.
_SETUPS: dict[str, Callable[..., Any]] = {"images": image_setup, "text": text_setup}


def setup(config: AnySearchConfig, devices: list[jax.Device] | None = None) -> AnySetup:
    """Loads the data, builds the method and its start, and places them on the devices.

    Args:
      config: the configuration.
      devices: where to search; by default on all devices.

    Raises:
      UserError: if the data are missing or wrong, or the parts do not fit each other.
    """
    return _SETUPS[get_space(config.space).task](config, devices)


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """How the search of a seed ended.

    Attributes:
      seed: the seed.
      folder: where its results are.
      genotype: the derived architecture.
      measured: the metrics of its last epoch; empty if none has ended.
      measures: how to put them into words.
      steps: steps done.
      stopped: exit status of the signal that stopped the search before its end; 0 if
        it came to its end.
      early: why it came to its end early, if it did.
      gaps: a line for each record that lacks what the search had written into it.
    """

    seed: int
    folder: RunFolder
    genotype: Genotype
    measured: dict[str, float]
    measures: Measures
    steps: int
    stopped: int = 0
    early: Stop | None = None
    gaps: tuple[str, ...] = ()


class _Search(Run[SeedRecord]):
    """The run of a search."""

    task = "search"
    program_names: tuple[str, str] = ("search step", "validation")
    shown = {"train_loss": "train", "valid_loss": "valid"}  # noqa: RUF012
    advice = "--method.weights.lr, --method.arch.lr"
    _curvature: compile.Compiled | None = None  # compiled when it is first measured

    def __init__(
        self,
        config: AnySearchConfig,
        start: AnySetup,
        folder: RunFolder,
        records: list[SeedRecord],
        say: Callable[[str], None],
    ) -> None:
        super().__init__(config, start, folder, records, say)
        stage = start.stage
        self.step, end = stage.steps(start.steps_per_epoch)
        self.last_step = min(self.last_step, end)
        if stage.number:
            self.checkpoints = folder.path / f"checkpoints_{stage.number + 1}"

    def following(self) -> Stage | None:
        """The stage after this one, if the search goes on with another."""
        stage = self.start.stage
        _, end = stage.steps(self.start.steps_per_epoch)
        if stage.count == 1 or self.step < end or self.step == self.config.steps:
            return None
        (arch,) = self._archs()
        return next_stage(self.config, stage, self.start.method.weights(arch))

    def functions(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        return self.start.programs(self.config)

    def weights(self) -> PyTree:
        return self.state.w, self.state.arch

    def rate(self, epochs: int, step: int) -> float | None:
        weights: Any = self.config.method.weights
        schedule = cosine_by_epoch(weights, epochs, self.start.steps_per_epoch)
        return np.asarray(schedule(step)).item()

    def unmeasured(self, step: int) -> tuple[str, ...]:
        first, _ = self.start.stage.steps(self.start.steps_per_epoch)
        judged = step - first > self.start.method.unjudged_steps
        return () if judged else ("valid_loss",)

    def pinned(self) -> dict[str, str]:
        return self.start.pinned

    def end_epoch(self, epoch: int, whole: bool) -> str:
        """Evaluates and derives."""
        with self.timing.part("evaluation"):
            found = self.evaluate()
        curvatures = self.curvatures(epoch) if whole else [None] * len(self.records)
        going = self.of_going(range(len(self.records)))  # before one ends here
        with self.timing.part("record"):
            rows = [
                record.end_epoch(
                    self.step,
                    epoch,
                    whole,
                    sums,
                    genotype,
                    self.built(arch),
                    self.start.known(genotype, arch["mix"]),
                    curvature,
                )
                for record, sums, genotype, arch, curvature in zip(
                    self.records,
                    found,
                    self.discretize(),
                    self.archs(),
                    curvatures,
                    strict=True,
                )
            ]
        rows = [rows[i] for i in going]
        common = [name for name in rows[0] if all(name in row for row in rows)]
        means = {name: np.mean([row[name] for row in rows]) for name in common}
        return self.start.measures.line(means)

    def curvatures(self, epoch: int) -> list[float | None]:
        """Each seed's, after an epoch in which it is to be measured."""
        start, every = self.start, self.start.curvature.every
        if start.measure is None or epoch % every:
            return [None] * len(self.records)
        if self._curvature is None:
            self._curvature = compile.compile_timed(
                start.measure,
                start.key,
                self.state,
                start.data,
                out_shardings=start.seeds.own,
            )
            self.timing.compiled("curvature", self._curvature)
        with self.timing.part("evaluation"):
            with phase("measuring the curvature"):
                found = self._curvature.call(start.key, self.state, start.data)
                return [float(value) for value in start.seeds.each(found)]

    def discretize(self) -> list[Genotype]:
        method, kinds = self.start.method, self.start.kinds
        return [method.discretize(arch).only(kinds) for arch in self._archs()]

    def built(self, arch: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """What is written down of it: the cell types that the network has. Where all
        cells are reductions the parameters of a normal one stay what they began as."""
        kinds = self.start.kinds
        return {
            name: {kind: own for kind, own in part.items() if kind in kinds}
            for name, part in arch.items()
        }

    def archs(self) -> list[dict[str, dict[str, Any]]]:
        weights = self.start.method.weights
        return [plain_arch(arch, weights(arch)) for arch in self._archs()]

    def _archs(self) -> list[Arch]:
        return self.start.seeds.each(self.state.arch)


def run_search(
    config: AnySearchConfig,
    start: AnySetup,
    folder: RunFolder,
    say: Callable[[str], None] = lambda line: print(line, flush=True),
) -> list[SearchResult]:
    """Searches, from the folder's last checkpoint on if it has one.

    Args:
      config: the configuration that the folder was opened with.
      start: what `setup` made of it: before the folder is opened, so that wrong data
        or settings leave no folder behind.
      folder: where everything is written; with several seeds, what is a seed's own goes
        to its own folder in it.
      say: prints one line.

    Returns:
      One result a seed.

    Raises:
      UserError: if what the folder holds is not usable, or it cannot be written.
      RunError: if a loss is not finite.
    """
    try:
        for extension in folder.extensions[-1:]:
            check_extension(config.method, extension.epochs, extension.more)
    except UserError:
        folder.restore_config()
        raise
    records = _records(config, start, folder)
    start = _resumed(config, start, folder, say)
    search = _Search(config, start, folder, records, say)
    stop, results = search.proceed(), []
    while stop.signal is None and (stage := search.following()):
        write_stage(folder.stages, stage)
        start = _restart(config, start, stage, say)
        search = _Search(config, start, folder, records, say)
        stop = search.proceed()
    for record, genotype in zip(records, search.discretize(), strict=True):
        steps = search.step
        if record.stop is not None:
            genotype = _result_of(record, record.stop.epoch)
            steps = record.stop.after * start.steps_per_epoch
        if stop.signal is None:
            record.genotypes.finish(genotype)
        results.append(
            SearchResult(
                seed=record.seed,
                folder=record.folder,
                genotype=genotype,
                measured=record.measured,
                measures=start.measures,
                steps=steps,
                stopped=stop.exit_status,
                early=record.stop,
                gaps=tuple(record.gaps),
            )
        )
    return results


def _result_of(record: SeedRecord, epoch: int) -> Genotype:
    """The genotype of an earlier epoch."""
    if epoch not in record.genotypes.epochs:
        raise UserError(
            f"{record.folder.genotype}: lacks the genotype of epoch {epoch}, which is "
            "the result; expected the file as the run has written it"
        )
    return record.genotypes.epochs[epoch]


def _resumed(
    config: AnySearchConfig,
    start: AnySetup,
    folder: RunFolder,
    say: Callable[[str], None],
) -> AnySetup:
    """The start of the stage that the folder is in."""
    first = start.stage
    if first.count == 1:
        return start
    stage = read_stage(config, folder.stages, first)
    if stage.number == 0:
        write_stage(folder.stages, first)
        return start
    done, _ = stage.steps(start.steps_per_epoch)
    if config.steps is not None and config.steps <= done:
        raise UserError(
            f"--steps: {config.steps}; {folder.path} is already in its stage "
            f"{stage.number + 1}, after step {done}; expected more"
        )
    return _restart(config, start, stage, say)


def _restart(
    config: AnySearchConfig,
    start: AnySetup,
    stage: Stage,
    say: Callable[[str], None],
) -> AnySetup:
    """The start of another stage."""
    # Of searches on images, the only ones that have stages.
    assert isinstance(config, SearchConfig) and isinstance(start, Setup)
    say(stage.described(config.layers))
    return setup_stage(config, start, stage)


def _records(
    config: AnySearchConfig, start: AnySetup, folder: RunFolder
) -> list[SeedRecord]:
    """One a seed: in the run's folder, or of several in a folder each."""
    folders = [folder]
    if config.seeds is not None:
        folders = [
            folder.part(f"seed_{seed}", to_json(config.with_seed(seed)))
            for seed in config.seeds
        ]
    own = zip(config.all_seeds, folders, start.baselines, strict=True)
    return [
        SeedRecord(seed, f, start.measures, known, start.curvature)
        for seed, f, known in own
    ]
