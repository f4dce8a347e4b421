"""How a run proceeds: compiled chunks of steps, checkpoints, records, stopping.

What searches and trainings share. Both do the same for one seed as for several: what is
each seed's own is a list here, with one entry or more.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import jax
import numpy as np

from jdarts import tree
from jdarts.compile import programs_folder
from jdarts.errors import RunError, UserError
from jdarts.io import Checkpoints, Progress, Restored, RunFolder, Timing
from jdarts.io.run_folder import Extension
from jdarts.loops.chunk import MAX_STEPS
from jdarts.loops.pinned import check_pinned, moved
from jdarts.loops.programs import abstract, compiled_text, evaluate
from jdarts.loops.record import Record
from jdarts.loops.stop import StopRequest
from jdarts.phase import phase
from jdarts.program_store import compile_stored
from jdarts.stopwatch import devices_text
from jdarts.types import PyTree

__all__ = ["Run"]

R = TypeVar("R", bound=Record)  # the kind of record of a subclass
T = TypeVar("T")

_CHUNK_SECONDS = 2.0  # between two reports; a signal waits as long, or for one step


class Run(Generic[R]):
    """One run: what its steps share. Subclasses fill in what is marked so.

    Attributes:
      task: subclass: what it is, for the progress bar.
      program_names: subclass: of the two compiled programs: steps, evaluation.
      shown: subclass: metrics of a step to show, with their short names.
      advice: subclass: options that may help where numbers are not finite.
      config: the configuration; `steps`, `epochs`, `batch_size`, `log_every` and
        `checkpoint_minutes` are read here.
      start: what it starts from: `state`, `key`, `data`, `steps_per_epoch`,
        `evaluations`, `seeds` and `seconds` are read here.
      folder: the run's folder.
      records: one a seed.
      say: prints one line.
      checkpoints: the folder of its checkpoints.
      state: the state after `step` steps.
      evaluated: the step at which the accuracies were measured last.
    """

    task = ""
    program_names: tuple[str, str] = ("", "")
    shown: dict[str, str] = {}  # noqa: RUF012 (never changed)
    advice = ""

    def __init__(
        self,
        config: Any,
        start: Any,
        folder: RunFolder,
        records: Sequence[R],
        say: Callable[[str], None],
    ) -> None:
        self.config, self.start, self.folder, self.say = config, start, folder, say
        self.records, self.state = records, start.state
        self.last_step = config.steps or config.epochs * start.steps_per_epoch
        self.timing = Timing(folder.timing)
        self.checkpoints = folder.checkpoints
        self.step = 0
        self.evaluated = -1
        self._replaces = False  # whether the epoch's row is there and written again
        self._saved = time.monotonic()
        self._finite = jax.jit(start.seeds.map(tree.all_finite, (True,)))

    def functions(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Subclass: the functions to compile: ``chunk(key, state, data, count)`` and
        ``evaluation(state, data, start, count)``; see `jdarts.loops.chunk`."""
        raise NotImplementedError

    def weights(self) -> PyTree:
        """Subclass: the part of the state that has to be finite."""
        raise NotImplementedError

    def pinned(self) -> dict[str, str]:
        """Subclass: option to digest of what it names, which may not change when the
        run goes on; none."""
        return {}

    def notes(self) -> dict[str, Any]:
        """Subclass: what else a checkpoint tells its readers, plain data; nothing."""
        return {}

    def rate(self, epochs: int, step: int) -> float | None:
        """Subclass: the weights' learning rate in a step, if the run is of so many
        epochs; None: unknown."""

    def unmeasured(self, step: int) -> tuple[str, ...]:
        """Subclass: metrics that the step of this number, from 1, does not measure."""
        del step
        return ()

    def end_epoch(self, epoch: int, whole: bool) -> str:
        """Subclass: evaluates and writes down; also where the run ends inside an epoch.

        Returns:
          The line to print.
        """
        raise NotImplementedError

    def diverged(self, seed: int, where: str, say: Callable[[str], None]) -> None:
        """A number is not finite: raises, or puts a state into place to go on from.

        Args:
          seed: which one, by its place in `records`.
          where: in words.
          say: prints one line.

        Raises:
          RunError: by default.
        """
        del say
        raise self._not_finite(self.records[seed], where)

    # --- compiling ---

    def compile(self) -> None:
        """Compiles both programs and says what it cost."""
        s, seeds = self.start, self.start.seeds
        self.timing.start(**s.seconds)
        if len(self.records) > 1:
            count, devices = len(self.records), seeds.mesh.size
            self.say(
                f"{count} seeds at once: {count // devices} on each of {devices} "
                f"devices (of {jax.device_count()})"
            )
        chunk, evaluation = self.functions()
        number = seeds.number(1)
        programs = programs_folder()
        self._chunk = compile_stored(
            programs,
            chunk,
            s.key,
            s.state,
            s.data,
            number,
            donate_argnums=1,
            out_shardings=seeds.own,
        )
        self._evaluation = compile_stored(
            programs,
            evaluation,
            s.state,
            s.data,
            number,
            number,
            out_shardings=seeds.own,
        )
        made = self._chunk, self._evaluation
        for name, program in zip(self.program_names, made, strict=True):
            memory = program.temp_bytes
            self.timing.compiled(name, program)
            self.say(
                compiled_text(name, program)
                + (f", memory {memory / 2**20:.0f} MiB" if memory else "")
            )

    # --- resuming and saving ---

    def resume(self, checkpoints: Checkpoints) -> None:
        """Takes the newest checkpoint, if there is one, drops what came later, and says
        what the records lack of what came before."""
        restored = checkpoints.restore(abstract(self.start.state))
        if restored is not None:
            self.state, self.step = restored.state, restored.step
            self._take(restored.meta)
            self.say(f"resuming {self.folder.path} at step {self.step}")
            if text := moved(restored.meta.get("devices"), devices_text()):
                self.say(text)
        self.folder.settle_extensions(self.step)
        for extension in self.folder.extensions:
            self.say(self.extended(extension))
        if self.step > self.last_step:
            raise UserError(
                f"--steps: {self.last_step}; {self.folder.path} is already at step "
                f"{self.step}; expected at least that"
            )
        self._end_early()
        last = self.folder.extensions[-1:]
        if last and self.finished and last[0].step == self.step:
            raise UserError(
                f"--extend: has no effect; {self.folder.path} has stopped early by its "
                "own criterion; expected a new run"
            )
        self.timing.rewind(self.step)
        per_epoch = self.start.steps_per_epoch
        for record in self.records:
            record.rewind(self.step)
        for record, own in zip(self.records, _seeds_of(restored), strict=False):
            for line in record.compare(own.get("records", {}), self.step, per_epoch):
                self.say(line)
        if not self.finished:
            self.folder.remove_results()
            epoch = self.step // per_epoch
            for record in self.records:
                record.reopen(epoch, epoch * per_epoch)

    def save(self, checkpoints: Checkpoints, say: Callable[[str], None]) -> None:
        """Begins to write a checkpoint.

        Raises:
          RunError: if the weights are not finite, of a seed that goes on.
        """
        finite = self.start.seeds.each(self._finite(self.weights()))
        for seed, (record, good) in enumerate(zip(self.records, finite, strict=True)):
            if not (good or record.ended):
                self.diverged(seed, f"after step {self.step} (in the weights)", say)
        with self.timing.part("checkpoint"):
            checkpoints.save(self.step, self.state, self._meta())
        self.timing.saved(self.step, -(-self.step // self.start.steps_per_epoch))
        self._saved = time.monotonic()

    def _meta(self) -> dict[str, Any]:
        place = self.step, self.start.steps_per_epoch
        seeds = [r.meta() | {"records": r.pins(*place)} for r in self.records]
        shared = {
            "evaluated": self.evaluated,
            "pinned": self.pinned(),
            "devices": devices_text(),
            **self.notes(),
        }
        return shared | ({"seeds": seeds} if len(seeds) > 1 else seeds[0])

    def _take(self, meta: dict[str, Any]) -> None:
        expected = "the same, or another folder for the run"
        before, now = meta.get("pinned", {}), self.pinned()
        check_pinned(before, now, self.folder.path, expected)
        self.evaluated = meta["evaluated"]
        for record, own in zip(self.records, _own(meta), strict=True):
            record.restore(own)

    # --- stepping ---

    def extended(self, extension: Extension) -> str:
        """What an extension means, in words."""
        step = extension.step
        text = extension.described(-(-step // self.start.steps_per_epoch))
        rates = (
            self.rate(extension.epochs, max(step - 1, 0)),
            self.rate(extension.more, step),
        )
        if None not in rates:
            text += f"; learning rate there: {rates[0]:.3g}, then {rates[1]:.3g}"
        return text

    def _end_early(self) -> None:
        """Makes this step the last one if all seeds have come to their end."""
        if all(record.ended for record in self.records):
            self.last_step = self.step

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.last_step

    def proceed(self) -> StopRequest:
        """Does all that is left, from the folder's last checkpoint on.

        Returns:
          Which signal stopped it before its end, if one did.

        Raises:
          UserError: if what the folder holds is not usable, or it cannot be written.
          RunError: if a loss is not finite.
        """
        stop = StopRequest()
        with Checkpoints(self.checkpoints) as checkpoints:
            try:
                self.resume(checkpoints)
            except UserError:
                self.folder.restore_config()
                raise
            if self.evaluated < self.last_step:
                self.compile()
                with (
                    stop
                ):  # before this there is nothing to save: a signal acts at once
                    self.run(checkpoints, stop)
                    checkpoints.wait()
        return stop

    def run(self, checkpoints: Checkpoints, stop: StopRequest) -> None:
        """Does the steps that are left, until a signal comes."""
        per_epoch = self.start.steps_per_epoch
        self._saved, length = time.monotonic(), 1
        if self.finished:  # a checkpoint just where it now has to end, not evaluated
            self._replaces = True
            self._end_epoch(self.say)
        with Progress(self.task, self.last_step, self.step) as progress:
            while not self.finished and stop.signal is None:
                epoch_end = (self.step // per_epoch + 1) * per_epoch
                count = min(length, epoch_end - self.step, self.last_step - self.step)
                length = self._advance(count, progress)
                if self.step == epoch_end or self.finished:
                    self._end_epoch(progress.print)
                    self.save(checkpoints, progress.print)
                elif self._due():
                    self.save(checkpoints, progress.print)
        if stop.signal is not None:
            self.save(checkpoints, self.say)

    def _due(self) -> bool:
        minutes = (time.monotonic() - self._saved) / 60
        return minutes >= self.config.checkpoint_minutes

    def _advance(self, count: int, progress: Progress) -> int:
        """Does `count` steps; returns how many the next chunk should have."""
        start = time.monotonic()
        with self.timing.part("steps"), phase("computing steps", first=2.5):
            self.state, device_log = self._chunk.call(
                self.start.key,
                self.state,
                self.start.data,
                self.start.seeds.number(count),
            )
            logs = self.start.seeds.each(device_log)
        seconds = time.monotonic() - start
        with self.timing.part("record"):
            whole = self._write_down(count, logs, progress.print)
        if not whole:
            return 1
        going = self.of_going(logs)
        unmeasured = self.unmeasured(self.step)
        last = {
            short: np.mean([log[name][count - 1] for log in going])
            for name, short in self.shown.items()
            if name not in unmeasured
        }
        text = "  ".join(f"{short} {value:.4f}" for short, value in last.items())
        epoch = (self.step - 1) // self.start.steps_per_epoch + 1
        progress.update(
            self.step, f"{self.means}{text}", f"epoch {epoch}/{self.config.epochs}"
        )
        fitting = round(count * _CHUNK_SECONDS / max(seconds, 1e-3))
        return int(np.clip(fitting, 1, min(2 * count, MAX_STEPS)))

    def _write_down(
        self,
        count: int,
        logs: list[dict[str, np.ndarray]],
        say: Callable[[str], None],
    ) -> bool:
        """Each seed's metrics of `count` steps, up to the first that is not finite; of
        a seed that has ended they may be anything.

        Returns:
          Whether all were finite.
        """
        finite = np.array(  # [seeds, count]
            [
                np.isfinite([v[:count] for v in log.values()]).all(axis=0)
                | record.ended
                for record, log in zip(self.records, logs, strict=True)
            ]
        )
        good = count if finite.all() else int(np.argmin(finite.all(axis=0)))
        for i in range(good):
            self.step += 1
            unmeasured = self.unmeasured(self.step)
            for record, log in zip(self.records, logs, strict=True):
                values = {n: float(v[i]) for n, v in log.items() if n not in unmeasured}
                record.add_step(
                    self.step, values, log=self.step % self.config.log_every == 0
                )
        if good < count:
            bad = int(np.argmin(finite[:, good]))
            log = sorted(logs[bad].items())
            values = ", ".join(f"{name} {v[good]:g}" for name, v in log)
            where = f"at step {self.step + 1} ({values})"
            self.diverged(bad, where, say)
        return good == count

    @property
    def means(self) -> str:
        """Goes before figures that are means over the seeds that go on."""
        count = len(self.of_going(self.records))
        return f"means of {count} seeds: " if count > 1 else ""

    def of_going(self, own: Sequence[T]) -> list[T]:
        """Of one thing a seed those whose seeds have not ended."""
        pairs = zip(self.records, own, strict=True)
        return [thing for record, thing in pairs if not record.ended]

    def _not_finite(self, record: Record, where: str) -> RunError:
        who, other = "", ""
        if len(self.records) > 1:
            who, other = f"seed {record.seed} ", ", or without that seed,"
        return RunError(
            f"{self.folder.path}: {who}not finite {where}; checkpoints of earlier "
            f"steps are kept; a new run with lower learning rates ({self.advice})"
            f"{other} may help"
        )

    def _end_epoch(self, say: Callable[[str], None]) -> None:
        per_epoch = self.start.steps_per_epoch
        epoch, whole = -(-self.step // per_epoch), self.step % per_epoch == 0
        means = self.means  # before a seed ends with this epoch
        line = self.end_epoch(epoch, whole)
        self._end_early()
        say(f"epoch {epoch}/{self.config.epochs}: {means}{line}")

    def evaluate(self) -> list[Any]:
        """Each seed's sums over the data to evaluate on."""
        found = evaluate(self._evaluation, self.state, self.start)
        self.evaluated = self.step
        if self._replaces:
            for record in self.records:
                record.drop_epoch(self.step)
        return found


def _own(meta: dict[str, Any]) -> list[dict[str, Any]]:
    """What a checkpoint tells of each seed."""
    return meta.get("seeds", [meta])


def _seeds_of(restored: Restored | None) -> list[dict[str, Any]]:
    return [] if restored is None else _own(restored.meta)
