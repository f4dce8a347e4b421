"""Where a run's time goes: rows in a file beside its metrics."""

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from jdarts.compile import Compiled
from jdarts.errors import UserError
from jdarts.io.metrics import MetricsLog
from jdarts.version import version

__all__ = ["Timing"]

_log = logging.getLogger("jdarts")


class Timing:
    """Collects seconds by part, and writes them down when a checkpoint was saved.

    The rows of the file, each with the ``step`` that it was written at:

    * ``kind`` start: a process began (or went on with) the run: versions, devices, and
      what came before compiling, as ``NAME_seconds``;
    * ``kind`` compile: a ``program``, its ``trace_seconds`` (with lowering),
      ``lower_seconds``, ``compile_seconds``, ``temp_bytes``, and ``kernels_seconds``
      for which it waited for CPU kernels;
    * ``kind`` part: the ``steps`` since the row before, up to ``epoch``, and
      ``NAME_seconds`` for every part that was measured. After a kill the rows behind
      the last checkpoint are dropped, so that no step is counted twice.
    """

    def __init__(self, path: Path) -> None:
        """Opens a file that may or may not exist. Where it cannot be used, a warning
        says so, and no time is written down: a run does not end because of it."""
        self._seconds: dict[str, float] = {}
        self._step = 0
        self._log: MetricsLog | None = None
        with self._or_without():
            self._log = MetricsLog(path)

    @contextlib.contextmanager
    def _or_without(self) -> Iterator[None]:
        """Goes on without the file if it cannot be used in here."""
        try:
            yield
        except UserError as error:
            _log.warning("%s; where the time goes is not written down", error)
            self._log = None

    def _append(self, row: dict[str, Any]) -> None:
        if self._log is not None:
            with self._or_without():
                self._log.append(row)

    def rewind(self, step: int) -> None:
        """The run goes on from this step: drops later rows."""
        self._step = step
        if self._log is not None:
            with self._or_without():
                self._log.truncate_after(step)

    def start(self, **seconds: float) -> None:
        """A process begins to compute.

        Args:
          **seconds: what it has spent already, by name.
        """
        device = jax.devices()[0]
        self._append(
            {
                "kind": "start",
                "step": self._step,
                "jdarts": version(),
                "jax": jax.__version__,
                "platform": device.platform,
                "device": device.device_kind,
                "devices": jax.device_count(),
                **{f"{name}_seconds": value for name, value in seconds.items()},
            }
        )

    def compiled(self, program: str, made: Compiled) -> None:
        """A program was compiled."""
        self._append(
            {
                "kind": "compile",
                "step": self._step,
                "program": program,
                "trace_seconds": made.trace_seconds,
                "lower_seconds": made.lower_seconds,
                "compile_seconds": made.compile_seconds,
                "temp_bytes": made.temp_bytes,
                "kernels_seconds": made.kernel_seconds,
            }
        )

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Adds the time spent inside to that part."""
        start = time.perf_counter()
        yield
        spent = time.perf_counter() - start
        self._seconds[name] = self._seconds.get(name, 0.0) + spent

    def saved(self, step: int, epoch: int) -> None:
        """A checkpoint was saved: writes the row of the steps before it.

        Args:
          step: steps done in all.
          epoch: of the last of them, from 1.
        """
        parts = {f"{name}_seconds": value for name, value in self._seconds.items()}
        row = {"kind": "part", "step": step, "epoch": epoch, "steps": step - self._step}
        self._append(row | parts)
        self._seconds, self._step = {}, step
