"""Leaving in an orderly way when the system or the user asks for it."""

import signal
import time
from types import FrameType

from jdarts.guard import REPEATED

__all__ = ["StopRequest"]


_NOTED = [
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP")
    if hasattr(signal, name)  # not everywhere
]


class StopRequest:
    """Notes SIGTERM, SIGINT and SIGHUP instead of dying of them; use it in a ``with``.

    SIGHUP says that the terminal has gone. A second signal of the same kind acts as
    usual if it comes more than a second later: in less, it is the same one, of which
    this process was told twice. One that the caller has ignored (``nohup``) stays so.

    Attributes:
      signal: the signal that came; None as long as none did.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[int, object] = {}
        self._came: dict[int, float] = {}

    def __enter__(self) -> "StopRequest":
        for number in _NOTED:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if number not in self._came:
            self._came[number] = now
            self.signal = signal.Signals(number)
        elif now >= self._came[number] + REPEATED:
            signal.signal(number, self._before[number])  # type: ignore[arg-type]
            signal.raise_signal(number)

    @property
    def exit_status(self) -> int:
        """What a shell reports of a process that this signal ended."""
        return 128 + int(self.signal) if self.signal else 0
