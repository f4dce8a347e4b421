"""What goes on while nothing else is shown: compiling, reading, writing.

Silent until `show` is called, as a command does at its start: a library prints nothing.
"""

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO, TypeVar

__all__ = ["Phases", "hidden", "phase", "phased", "show"]

_FIRST = 1.0  # seconds after which a phase is said
_EVERY = 2.5  # seconds between two lines of a phase that goes on
_REDRAWN = 0.25  # the same on a terminal, where one line is written again and again
_CLEAR = "\r\x1b[2K"

F = TypeVar("F", bound=Callable[..., Any])


class Phases:
    """Shows phases, of which one may be inside another; the innermost is shown.

    A phase that lasts is said when it has lasted a second, then every few seconds, and
    at its end with its time: a line each; on a terminal one line that is written again
    until its end.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic):
        """Shows nothing yet.

        Args:
          stream: where to write.
          clock: seconds; for tests.
        """
        self._stream, self._clock = stream, clock
        self._live = stream.isatty()
        self._running: list[_Running] = []
        self._last: float | None = None  # when something was said of what goes on
        self._hidden = 0  # how many `hidden` go on
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def phase(self, what: str, first: float = _FIRST) -> Iterator[None]:
        """What goes on inside; see `phase`."""
        mine = _Running(what, self._clock(), first)
        with self._changed:
            self._running.append(mine)
            self._watch()
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._running.remove(mine)
                now = self._clock()
                if mine.said:
                    self._write(f"{what}: {now - mine.start:.1f} s\n")
                    self._last = now
                if not self._running:
                    self._last = None

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Nothing is written inside; also not of a phase that has begun before."""
        with self._changed:
            if self._live and any(one.said for one in self._running):
                self._write("")  # takes the line off the terminal
            self._hidden += 1
        try:
            yield
        finally:
            with self._changed:
                self._hidden -= 1

    def tick(self) -> None:
        """Says what has to be said now."""
        with self._changed:
            if self._hidden or not self._running:
                return
            now, inner = self._clock(), self._running[-1]
            spent = now - inner.start
            every = _REDRAWN if self._live else _EVERY
            silent = self._last is not None and now >= self._last + every
            if not silent and (inner.said or spent < inner.first):
                return
            text = f"{inner.what}: {spent:.0f} s" if inner.said else inner.what
            inner.said, self._last = True, now
            self._write(f"{text} ..." + ("" if self._live else "\n"))

    def _write(self, text: str) -> None:
        if self._hidden:
            return
        with contextlib.suppress(ValueError):  # the stream is closed: the process ends
            self._stream.write((_CLEAR if self._live else "") + text)
            self._stream.flush()

    def _watch(self) -> None:
        """Sees to it that a thread calls `tick`, which goes on while XLA compiles."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._beat, daemon=True)
            self._thread.start()

    def _beat(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._running)
            time.sleep(_REDRAWN)
            with contextlib.suppress(OSError):
                self.tick()


class _Running:
    """A phase that goes on.

    Attributes:
      what: a few words on it.
      start: the clock's seconds at its beginning.
      first: seconds after which it is said.
      said: whether it has been said.
    """

    def __init__(self, what: str, start: float, first: float) -> None:
        self.what, self.start, self.first = what, start, first
        self.said = False


_shown: Phases | None = None


def show(stream: TextIO | None) -> None:
    """From here on phases are shown on this stream; None: no longer."""
    global _shown
    _shown = None if stream is None else Phases(stream)


def phase(what: str, first: float = _FIRST) -> contextlib.AbstractContextManager[None]:
    """Says what goes on inside, if it takes long; use it in a ``with``.

    Args:
      what: a few words ("compiling the search step").
      first: seconds after which it is said at all.
    """
    return contextlib.nullcontext() if _shown is None else _shown.phase(what, first)


def phased(what: str) -> Callable[[F], F]:
    """A decorator: a call of the function is a phase."""

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            with phase(what):
                return function(*args, **options)

        return call  # pyrefly: ignore

    return decorate


def hidden() -> contextlib.AbstractContextManager[None]:
    """In here no phase is shown: something else moves on the terminal."""
    return contextlib.nullcontext() if _shown is None else _shown.hidden()
