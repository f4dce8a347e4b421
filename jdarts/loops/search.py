"""How a search proceeds: epochs of compiled chunks, checkpoints, validation, genotypes.

Knows no method by name, and does the same for one seed as for several: what is each
seed's own is a list here, with one entry or more.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jdarts import compile, tree
from jdarts.config import SearchConfig, to_json
from jdarts.errors import RunError, UserError
from jdarts.io import Checkpoints, Progress, RunFolder, Timing
from jdarts.loops.chunk import MAX_STEPS
from jdarts.loops.record import SeedRecord, plain_arch
from jdarts.loops.setup import Setup, programs, setup
from jdarts.loops.stop import StopRequest
from jdarts.problem import Evaluation
from jdarts.spaces import Genotype
from jdarts.types import Arch

__all__ = ["SearchResult", "Setup", "run_search", "setup"]

_CHUNK_SECONDS = 2.0  # between two reports; a signal waits as long, or for one step


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


class _Search:
    """One run: what its steps share."""

    def __init__(
        self,
        config: SearchConfig,
        start: Setup,
        folder: RunFolder,
        say: Callable[[str], None],
    ) -> None:
        self.config, self.folder, self.say = config, folder, say
        self.setup, self.state = start, start.state
        self.last_step = config.steps or config.epochs * start.steps_per_epoch
        self.records = _records(config, start, folder)
        self.timing = Timing(folder.timing)
        self.step = 0
        self.evaluated = -1  # the step at which the accuracies were measured
        self._saved = time.monotonic()
        self._finite = jax.jit(start.seeds.map(tree.all_finite, (True,)))

    # --- compiling ---

    def compile(self) -> None:
        s, seeds = self.setup, self.setup.seeds
        self.timing.start(**s.seconds)
        if len(self.records) > 1:
            count, devices = len(self.records), seeds.mesh.size
            self.say(
                f"{count} seeds at once: {count // devices} on each of {devices} "
                f"devices (of {jax.device_count()})"
            )
        chunk, evaluation = programs(self.config, s)
        self._number = lambda n: jax.device_put(np.int32(n), seeds.shared)
        number = self._number(1)
        self._chunk = compile.compile_timed(
            chunk,
            s.key,
            s.state,
            s.data,
            number,
            donate_argnums=1,
            out_shardings=seeds.own,
        )
        self._evaluation = compile.compile_timed(
            evaluation,
            s.state,
            s.data,
            number,
            number,
            out_shardings=seeds.own,
        )
        for name, made in (
            ("search step", self._chunk),
            ("validation", self._evaluation),
        ):
            memory = made.temp_bytes
            self.timing.compiled(name, made)
            self.say(
                f"compiled {name}: trace {made.trace_seconds:.1f} s, compile "
                f"{made.compile_seconds:.1f} s"
                + (f", memory {memory / 2**20:.0f} MiB" if memory else "")
            )

    # --- resuming and saving ---

    def resume(self, checkpoints: Checkpoints) -> None:
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
            self.setup.state,
        )
        restored = checkpoints.restore(target)
        if restored is not None:
            self.state, self.step = restored.state, restored.step
            self._take(restored.meta)
            self.say(f"resuming {self.folder.path} at step {self.step}")
        if self.step > self.last_step:
            raise UserError(
                f"--steps: {self.last_step}; {self.folder.path} is already at step "
                f"{self.step}; expected at least that"
            )
        self.timing.rewind(self.step)
        for record in self.records:
            record.rewind(self.step)
        if not self.finished:
            self.folder.remove_results()
            per_epoch = self.setup.steps_per_epoch
            epoch = self.step // per_epoch
            for record in self.records:
                record.reopen(epoch, epoch * per_epoch)

    def save(self, checkpoints: Checkpoints) -> None:
        finite = self.setup.seeds.each(self._finite((self.state.w, self.state.arch)))
        if not all(finite):
            bad = self.records[finite.index(False)]
            raise self._not_finite(bad, f"after step {self.step} (in the weights)")
        with self.timing.part("checkpoint"):
            checkpoints.save(self.step, self.state, self._meta())
        self.timing.saved(self.step, -(-self.step // self.setup.steps_per_epoch))
        self._saved = time.monotonic()

    def _meta(self) -> dict[str, Any]:
        seeds = [record.meta() for record in self.records]
        return {"evaluated": self.evaluated} | (
            {"seeds": seeds} if len(seeds) > 1 else seeds[0]
        )

    def _take(self, meta: dict[str, Any]) -> None:
        self.evaluated = meta["evaluated"]
        for record, own in zip(self.records, meta.get("seeds", [meta]), strict=True):
            record.restore(own)

    # --- stepping ---

    @property
    def finished(self) -> bool:
        return self.step >= self.last_step

    def run(self, checkpoints: Checkpoints, stop: StopRequest) -> None:
        per_epoch = self.setup.steps_per_epoch
        self._saved, length = time.monotonic(), 1
        if self.finished:  # stopped by a signal just where it now has to end
            self._end_epoch(self.say)
            self.save(checkpoints)
        with Progress("search", self.last_step, self.step) as progress:
            while not self.finished and stop.signal is None:
                epoch_end = (self.step // per_epoch + 1) * per_epoch
                count = min(length, epoch_end - self.step, self.last_step - self.step)
                length = self._advance(count, progress)
                if self.step == epoch_end or self.finished:
                    self._end_epoch(progress.print)
                    self.save(checkpoints)
                elif self._due():
                    self.save(checkpoints)
        if stop.signal is not None:
            self.save(checkpoints)

    def _due(self) -> bool:
        minutes = (time.monotonic() - self._saved) / 60
        return minutes >= self.config.checkpoint_minutes

    def _advance(self, count: int, progress: Progress) -> int:
        """Does `count` steps; returns how many the next chunk should have."""
        start = time.monotonic()
        with self.timing.part("steps"):
            self.state, device_log = self._chunk.call(
                self.setup.key, self.state, self.setup.data, self._number(count)
            )
            logs = self.setup.seeds.each(device_log)
        seconds = time.monotonic() - start
        with self.timing.part("record"):
            self._write_down(count, logs)
        train, valid = (
            np.mean([log[name][count - 1] for log in logs])
            for name in ("train_loss", "valid_loss")
        )
        epoch = (self.step - 1) // self.setup.steps_per_epoch + 1
        progress.update(
            self.step,
            f"{self._means}train {train:.4f}  valid {valid:.4f}",
            f"epoch {epoch}/{self.config.epochs}",
        )
        fitting = round(count * _CHUNK_SECONDS / max(seconds, 1e-3))
        return int(np.clip(fitting, 1, min(2 * count, MAX_STEPS)))

    def _write_down(self, count: int, logs: list[dict[str, np.ndarray]]) -> None:
        """Each seed's metrics of `count` steps, up to the first that is not finite."""
        finite = np.array(  # [seeds, count]
            [np.isfinite([v[:count] for v in log.values()]).all(axis=0) for log in logs]
        )
        good = count if finite.all() else int(np.argmin(finite.all(axis=0)))
        for i in range(good):
            self.step += 1
            for record, log in zip(self.records, logs, strict=True):
                values = {name: float(log[name][i]) for name in log}
                record.add_step(
                    self.step, values, log=self.step % self.config.log_every == 0
                )
        if good < count:
            bad = int(np.argmin(finite[:, good]))
            log = sorted(logs[bad].items())
            values = ", ".join(f"{name} {v[good]:g}" for name, v in log)
            where = f"at step {self.step + 1} ({values})"
            raise self._not_finite(self.records[bad], where)

    @property
    def _means(self) -> str:
        """Goes before figures that are means over the seeds."""
        count = len(self.records)
        return f"means of {count} seeds: " if count > 1 else ""

    def _not_finite(self, record: SeedRecord, where: str) -> RunError:
        who, other = "", ""
        if len(self.records) > 1:
            who, other = f"seed {record.seed} ", ", or without that seed,"
        return RunError(
            f"{self.folder.path}: {who}not finite {where}; checkpoints of earlier "
            "steps are kept; a new run with lower learning rates (--method.weights.lr, "
            f"--method.arch.lr){other} may help"
        )

    def _end_epoch(self, say: Callable[[str], None]) -> None:
        """Evaluates and derives; also where the search ends inside an epoch."""
        per_epoch = self.setup.steps_per_epoch
        epoch, whole = -(-self.step // per_epoch), self.step % per_epoch == 0
        with self.timing.part("evaluation"):
            found = self.evaluate()
        with self.timing.part("record"):
            rows = [
                record.end_epoch(self.step, epoch, whole, sums, genotype, arch)
                for record, sums, genotype, arch in zip(
                    self.records, found, self.discretize(), self.archs(), strict=True
                )
            ]
        self.evaluated = self.step
        means = {name: np.mean([row[name] for row in rows]) for name in rows[0]}
        say(
            f"epoch {epoch}/{self.config.epochs}: {self._means}"
            f"train loss {means['epoch_train_loss']:.4f}, "
            f"valid loss {means['epoch_valid_loss']:.4f}, "
            f"supernet accuracy {100 * means['supernet_accuracy']:.2f} %"
        )

    def evaluate(self) -> list[Evaluation]:
        """The supernet on the validation half, a few batches at a time."""
        total = -(-self.setup.valid_count // self.config.batch_size)
        sums = None
        for start in range(0, total, MAX_STEPS):
            count = min(MAX_STEPS, total - start)
            part = self._evaluation.call(
                self.state, self.setup.data, self._number(start), self._number(count)
            )
            part = jax.device_get(part)
            sums = part if sums is None else jax.tree.map(np.add, sums, part)
        assert sums is not None  # the half is not empty
        return self.setup.seeds.each(sums)

    def discretize(self) -> list[Genotype]:
        return [self.setup.method.discretize(arch) for arch in self._archs()]

    def archs(self) -> list[dict[str, dict[str, Any]]]:
        weights = self.setup.method.weights
        return [plain_arch(arch, weights(arch)) for arch in self._archs()]

    def _archs(self) -> list[Arch]:
        return self.setup.seeds.each(self.state.arch)


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
    search, stop = _Search(config, start, folder, say), StopRequest()
    with Checkpoints(folder.checkpoints) as checkpoints:
        search.resume(checkpoints)
        if search.evaluated < search.last_step:
            search.compile()
            with stop:  # before this there is nothing to save: a signal acts at once
                search.run(checkpoints, stop)
                checkpoints.wait()
    results = []
    for record, genotype in zip(search.records, search.discretize(), strict=True):
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
