"""A process that may not have all the memory it asks for, watched by another one.

XLA, LLVM and the C++ library end the process where the system gives them no memory
(``ulimit -v``), with stacks on the standard error. Only another process can say in one
line what that was. It is there only where there is a limit.
"""

import contextlib
import ctypes
import os
import re
import select
import signal
import sys
import time

with contextlib.suppress(ImportError):  # not on Windows
    import resource

__all__ = ["REPEATED", "guarded", "is_watched"]

REPEATED = 1.0
"""Seconds in which a signal that comes again is the same one: who tells all processes
(a terminal, a cluster, ``timeout``) tells the one that is watched twice."""

_PARENT_DEATH_SIGNAL = 1  # of prctl(2)
_HELD = 1.0  # seconds that lines wait: of a process that dies in them nothing is shown
_STATUS_OF_LIBC = 127  # where it has no memory for a thread; no command ends so
# How a process ends that gets no memory; SIGKILL comes from the system itself.
_DEATHS = {
    getattr(signal, name)
    for name in ("SIGABRT", "SIGSEGV", "SIGBUS", "SIGILL", "SIGTRAP", "SIGKILL")
    if hasattr(signal, name)
}
# NumPy's OpenBLAS ends the process with status 1, a mistake in the code's.
_NO_ARRAYS = re.compile(rb"^OpenBLAS error: Memory allocation .* failed", re.MULTILINE)
_PASSED_ON = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)
]

_watched = False


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
    parent = os.getpid()
    # None of them may come before it is passed on.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    try:
        child = os.fork()
    except OSError:
        os.close(reading)
        os.close(writing)
        return None
    else:
        if child != 0:
            _pass_on_signals(child)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if child == 0:
        _follow(parent)
        os.close(reading)
        os.dup2(writing, 2)
        os.close(writing)
        return None
    os.close(writing)
    said = _relay(reading)
    _, status = os.waitpid(child, 0)
    ended_by = _death(status, said)
    if ended_by is not None:
        _write(
            f"error: ended by {ended_by}: {limit / 2**20:.0f} MiB of memory, the limit "
            "that is set (ulimit -v), are too little; expected a higher one, or a "
            "smaller network or batch\n".encode()
        )
        return 2
    _write(said)
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)


def _death(status: int, said: bytes) -> str | None:
    """What has ended a process that got no memory; None: it ended otherwise.

    Args:
      status: as ``waitpid`` gives it.
      said: the last that it wrote on the standard error.
    """
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in _DEATHS:
        return signal.Signals(os.WTERMSIG(status)).name
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == _STATUS_OF_LIBC:
        return "the C library"
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) and _NO_ARRAYS.search(said):
        return "OpenBLAS"
    return None


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

    for number in _PASSED_ON:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)


def is_watched() -> bool:
    """Whether this process has another one that watches it."""
    return _watched


def _follow(parent: int) -> None:
    """The end of the process that watches this one is also its end."""
    global _watched
    _watched = True
    with contextlib.suppress(OSError, AttributeError):  # other systems have none
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended before that
        os._exit(1)


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
