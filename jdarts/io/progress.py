"""How far a run is: a bar on a terminal, plain lines elsewhere."""

import collections
import contextlib
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from jdarts.lazy import LazyModule
from jdarts.phase import hidden

if TYPE_CHECKING:
    import rich.console as rich_console
    import rich.progress as rich_progress
else:
    rich_console = LazyModule("rich.console")
    rich_progress = LazyModule("rich.progress")

__all__ = ["Progress"]

_WINDOW = 20  # updates over which the rate is measured


class Progress:
    """Reports steps done, rate, remaining time and a short text; use it in a ``with``.

    On a terminal it is one bar that is redrawn; elsewhere (a file, a pipe) it is a line
    at most every `every` seconds, and one at the end.
    """

    def __init__(
        self,
        description: str,
        total: int,
        start: int = 0,
        *,
        stream: TextIO | None = None,
        every: float = 1.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepares it; nothing is shown before ``with`` is entered.

        Args:
          description: the task ("epoch 3/50"); `update` may change it.
          total: number of steps of the whole run.
          start: steps that an earlier process did: shown as done, not in the rate.
          stream: where to write; default the standard output.
          every: seconds between two plain lines.
          clock: seconds; for tests.
        """
        self._description, self._total, self._step = description, total, start
        self._text, self._shown = "", ""
        self._every, self._clock, self._next = every, clock, -float("inf")
        self._marks: collections.deque[tuple[float, int]] = collections.deque(
            maxlen=_WINDOW
        )
        self._stream = sys.stdout if stream is None else stream
        self._bar = _bar(self._stream) if self._stream.isatty() else None
        self._alone = contextlib.ExitStack()  # the bar: no phases beside it
        self._task: rich_progress.TaskID = 0  # pyrefly: ignore

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            self._alone.enter_context(hidden())
            self._bar.start()
            self._task = self._bar.add_task(
                self._description, total=self._total, completed=self._step, facts=""
            )
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._alone.close()
        elif self._marks:
            self._write_line()

    def update(self, step: int, text: str = "", description: str | None = None) -> None:
        """Says that `step` steps are done.

        The first update only starts the clock: what came before it is compilation.

        Args:
          step: steps done since the beginning of the run.
          text: losses and the like ("train 1.234  valid 1.345").
          description: the task, if it changed.
        """
        self._step, self._text = step, text
        self._description = description or self._description
        now = self._clock()
        self._marks.append((now, step))
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=step,
                description=self._description,
                facts=self._facts(),
            )
        elif now >= self._next:
            self._next = now + self._every
            self._write_line()

    def print(self, line: str) -> None:
        """Writes a line that stays, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            self._stream.write(line + "\n")
            self._stream.flush()

    def _rate(self) -> float | None:
        """Steps per second over the recent updates."""
        if len(self._marks) < 2:
            return None
        (then, first), (now, last) = self._marks[0], self._marks[-1]
        return (last - first) / (now - then) if now > then and last > first else None

    def _facts(self) -> str:
        rate = self._rate()
        facts = []
        if rate is not None:
            left = max(self._total - self._step, 0) / rate
            facts = [_rate_text(rate), f"remaining {_duration(left)}"]
        return "  ".join([*facts, self._text] if self._text else facts)

    def _write_line(self) -> None:
        facts = self._facts()
        line = f"{self._description}  step {self._step}/{self._total}"
        line += f"  {facts}" if facts else ""
        if line != self._shown:
            self._shown = line
            self.print(line)


def _bar(stream: TextIO) -> "rich_progress.Progress":
    return rich_progress.Progress(
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(bar_width=12),
        rich_progress.TextColumn("{task.completed}/{task.total}"),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TextColumn("{task.fields[facts]}", markup=False),
        console=rich_console.Console(file=stream),
        expand=False,
    )


def _rate_text(rate: float) -> str:
    return f"{rate:.3g} steps/s" if rate < 100 else f"{rate:.0f} steps/s"


def _duration(seconds: float) -> str:
    """Two figures' worth: ``2h12m``, ``3m05s``, ``41s``, ``3d04h``."""
    left = round(seconds)
    for unit, size, smaller, part in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "m", 60),
        ("m", 60, "s", 1),
    ):
        if left >= size:
            return f"{left // size}{unit}{left % size // part:02d}{smaller}"
    return f"{left}s"
