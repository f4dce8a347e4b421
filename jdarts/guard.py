"""A process that may not have all the memory it asks for, watched by another one.

XLA, LLVM and the C++ library end the process where the system gives them no memory
(``ulimit -v``), with stacks on the standard error. Only another process can say in one
line what that was. It is there only where there is a limit.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import time

with contextlib.suppress(ImportError):  # not on Windows
    import resource

__all__ = ["guarded"]

_PARENT_DEATH_SIGNAL = 1  # of prctl(2)
_HELD = 1.0  # seconds that lines wait: of a process that dies in them nothing is shown
# How a process ends that gets no memory; SIGKILL comes from the system itself.
_DEATHS = {
    getattr(signal, name)
    for name in ("SIGABRT", "SIGSEGV", "SIGBUS", "SIGILL", "SIGTRAP", "SIGKILL")
    if hasattr(signal, name)
}


def guarded() -> int | None:
    """Goes on in a child process, if the memory of this one is limited.

    Where the system gives no other process it goes on in this one, unwatched.

    Returns:
      None in the process that is to do the work; in the other one, when that has
      ended, the exit status.
    """
    limit = _limit()
    if limit is None:
        return None
    try:
        reading, writing = os.pipe()
    except OSError:
        return None
    try:
        child = os.fork()
    except OSError:
        os.close(reading)
        os.close(writing)
        return None
    if child == 0:
        _follow_parent()
        os.close(reading)
        os.dup2(writing, 2)
        os.close(writing)
        return None
    os.close(writing)
    _pass_on_signals(child)
    said = _relay(reading)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in _DEATHS:
        name = signal.Signals(os.WTERMSIG(status)).name
        _write(
            f"error: ended by {name}: {limit / 2**20:.0f} MiB of memory, the limit "
            "that is set (ulimit -v), are too little; expected a higher one, or a "
            "smaller network or batch\n".encode()
        )
        return 2
    _write(said)
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)


def _limit() -> int | None:
    """Bytes of memory that this process may have; None: any number."""
    if not hasattr(os, "fork") or "resource" not in globals():
        return None
    limits = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    set_ones = [resource.getrlimit(number)[0] for number in limits]
    set_ones = [size for size in set_ones if size != resource.RLIM_INFINITY]
    return min(set_ones, default=None)


def _pass_on_signals(child: int) -> None:
    """What this process is told, the other one is told."""

    def pass_on(number: int, frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)


def _follow_parent() -> None:
    """A terminal's signals come from the parent alone, and its end is this one's."""
    os.setpgid(0, 0)
    with contextlib.suppress(OSError, AttributeError):  # other systems have none
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def _relay(reading: int) -> bytes:
    """Writes what comes out of a pipe, a second late; returns what is left then."""
    held: list[tuple[float, bytes]] = []
    while True:
        ready, _, _ = select.select([reading], [], [], 0.1)
        if ready:
            text = os.read(reading, 65536)
            if not text:
                return b"".join(text for _, text in held)
            held.append((time.monotonic(), text))
        while held and held[0][0] < time.monotonic() - _HELD:
            _write(held.pop(0)[1])


def _write(text: bytes) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.flush()
        os.write(2, text)
