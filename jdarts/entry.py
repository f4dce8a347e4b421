"""How the process of a command starts and ends: one line for whatever goes wrong.

Imports only what comes with Python: an interrupt while the rest is imported, which
takes seconds, ends in one line too.
"""

import contextlib
import errno
import gc
import importlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from jdarts.commands import COMMANDS, Command
from jdarts.errors import RunError, UserError
from jdarts.guard import REPEATED, guarded, is_watched
from jdarts.output import Output, drop, open_streams
from jdarts.phase import show

__all__ = ["run_command", "start", "use_huge_pages"]

_INTERRUPTED = "error: interrupted; what was saved before stays"
# What a machine runs out of; the message does not always name a file.
_SPENT = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.ENOMEM: "this machine has too little memory",
    errno.EMFILE: "this process has too many open files (ulimit -n)",
    errno.ENFILE: "this machine has too many open files",
    errno.EAGAIN: "this machine gives no more processes or threads (ulimit -u)",
    errno.EIO: "a device does not work",
}
# How libraries say that there is no memory left.
_NO_MEMORY = (
    "bad_alloc",
    "cannot allocate memory",
    "failed to map segment",
    "unable to allocate",
    "out of memory",
    "error return without exception set",  # of a module that was being imported
)


def start(name: str, arguments: list[str]) -> int:
    """Runs a command as this process.

    Args:
      name: a row of COMMANDS.
      arguments: of the command line, without the command.

    Returns:
      The exit status: of `run_command`; 1 where a result that is only printed was
      lost.
    """
    row = COMMANDS[name]
    output = open_streams()
    _interrupts.install()
    try:
        if row.computes:
            use_huge_pages()
        status = guarded()
        if status is not None:
            return status
        status = run_command(lambda given: _main(row)(given), arguments)
    except SystemExit as stop:  # of --help
        status = _status_of(stop)
        return _finish(output, status, lost=1)
    except KeyboardInterrupt:  # while an error was being printed
        status = _say_interrupted()
    return _finish(output, status, lost=1 if row.prints else 0)


def _main(row: Command) -> Callable[[list[str]], int]:
    """Imports a command; what it does is shown where its results are not."""
    show(sys.stderr if row.prints else sys.stdout)
    gc.disable()  # what is imported stays: nothing of it is garbage
    main = importlib.import_module(row.module).main
    gc.freeze()
    gc.enable()
    _interrupts.works = True
    return main


def _status_of(stop: SystemExit) -> int:
    """The exit status; a text is the reason of a failure, as Python takes it."""
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    print(f"error: {' '.join(str(stop.code).split())}", file=sys.stderr)
    return 1


def _finish(output: Output, status: int, lost: int) -> int:
    """Writes what is left to write; from here on an interrupt changes nothing.

    Args:
      output: the standard output.
      status: the exit status so far.
      lost: the exit status if not all of the output could be written.

    Returns:
      The exit status.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    written = output.close_quietly()
    return status or (lost if written == 1 else written)


def use_huge_pages() -> None:
    """Starts this process once more with large memory pages for large arrays (Linux).

    XLA:CPU asks for a step's memory at every call, and the system hands it out in
    pages of 4 KiB: for a supernet that can take as long as the step. The C library
    reads this setting only when a process starts. Does nothing where
    ``GLIBC_TUNABLES`` is set already; other C libraries ignore it.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        with contextlib.suppress(OSError):  # it may not be started: then without
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def run_command(main: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Runs a command's `main`; prints its errors in one line.

    Returns:
      The exit status: 2 for what the user can mend, 1 for a run that cannot go on,
      as a shell reports it for a signal.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", stream=sys.stderr)
    try:
        return main(arguments)
    except BrokenPipeError:  # nobody reads the output any more: `... | head`
        drop(sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return _say_interrupted()
    except Exception as error:
        if _interrupts.came:  # a library has made another error of the interrupt
            return _say_interrupted()
        reason = _reason(error)
        if reason is None:
            raise
        print(f"error: {reason}", file=sys.stderr)
        return 1 if isinstance(error, RunError) else 2


def _say_interrupted() -> int:
    print(_INTERRUPTED, file=sys.stderr, flush=True)
    return 128 + signal.SIGINT


def _reason(error: Exception) -> str | None:
    """An error in one line; None for a mistake in the code.

    What the system or jax refuses is put into what the user can do about it.
    """
    text = " ".join(str(error).split())
    if isinstance(error, (UserError, RunError)):
        return text
    if isinstance(error, MemoryError) or (
        isinstance(error, (ImportError, OSError, RuntimeError, SystemError))
        and any(words in text.lower() for words in _NO_MEMORY)
        and "RESOURCE_EXHAUSTED" not in text
    ):
        return (
            f"this machine has too little memory ({text or 'MemoryError'}); fewer "
            "images (--data.limit) need less; a limit (ulimit -v) may be set too low"
        )
    if isinstance(error, OSError):
        if error.filename is not None:
            return f"{error.filename}: cannot be used ({error.strerror})"
        spent = _SPENT.get(error.errno or 0)
        return spent and f"{spent} ({error.strerror})"
    if not isinstance(error, RuntimeError):
        return None
    if "RESOURCE_EXHAUSTED" in text:
        return (
            "the device has too little memory; a smaller --batch-size, --channels or "
            "--layers, fewer --seeds, or --remat, needs less"
        )
    if "can't start new thread" in text:
        return f"{_SPENT[errno.EAGAIN]} ({text})"
    if "Unable to initialize backend" in text:
        first = str(error).splitlines()[0]
        return f"JAX_PLATFORMS: {first}; expected cpu, cuda or tpu"
    return None


class _Interrupts:
    """Makes every Ctrl-C count, wherever in the process it comes.

    Python raises KeyboardInterrupt in whatever the main thread is at. Where that is a
    callback that cannot raise (of the garbage collector, a ``__del__``), it is printed
    and forgotten; a library may also turn it into another error; and modules in C may
    not survive one while they are imported. A second one is meant seriously: it ends
    the process at once, as SIGKILL may at any time.

    Attributes:
      came: whether there was one that took effect.
      works: whether the command has begun, so that there may be something to leave in
        good order; before, an interrupt ends the process at once.
    """

    def __init__(self) -> None:
        self.came = self.works = False
        self._waits = False  # one has come, while a module was imported
        self._own = False  # the next one is that one
        self._first: float | None = None  # when the user's first one came

    def install(self) -> None:
        """From here on; not where the caller has interrupts ignored (``nohup``)."""
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            return
        signal.signal(signal.SIGINT, self._raise)
        usual = sys.unraisablehook

        def hook(complaint: Any) -> None:
            if issubclass(complaint.exc_type, KeyboardInterrupt):
                self.came = False
                self._again()
            else:
                usual(complaint)

        sys.unraisablehook = hook

    def _raise(self, number: int, frame: FrameType | None) -> None:
        own, self._own = self._own, False
        now = time.monotonic()
        if self._first is None:
            self._first = now
        elif is_watched() and not own and now < self._first + REPEATED:
            return  # from the terminal, and once more from the one that watches
        if self.came or not self.works or (self._waits and not own):
            os.write(2, f"{_INTERRUPTED}\n".encode())
            os._exit(128 + signal.SIGINT)
        if _imports(frame):
            self._again()
            return
        self.came, self._waits = True, False
        raise KeyboardInterrupt

    def _again(self) -> None:
        """The same a little later, when something else is going on."""
        self._waits = True
        later = threading.Timer(0.05, self._send)
        later.daemon = True
        later.start()

    def _send(self) -> None:
        self._own = True
        os.kill(os.getpid(), signal.SIGINT)


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


_interrupts = _Interrupts()
