"""Standard output that can be anything: not UTF-8, closed, on a full disk."""

import contextlib
import errno
import io
import os
import sys
from typing import Any

__all__ = ["Output", "drop", "open_streams"]


class Output(io.TextIOWrapper):
    """Standard output whose failure ends nothing: results are in the run's folder.

    The first write that fails is said in one line on the standard error; what comes
    after it is dropped. A reader that has gone (``| head``) is an error as everywhere.

    Attributes:
      closed_before: whether the process was started without a standard output.
      lost: whether something could not be written.
    """

    closed_before = False
    lost = False

    def write(self, text: str, /) -> int:
        if self.closed_before and text:
            self._lose(OSError(errno.EBADF, os.strerror(errno.EBADF)))
        try:
            return super().write(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._lose(error)

    def close_quietly(self) -> int:
        """Writes what is left to write.

        Returns:
          The exit status: 0; 1 if something was lost; 141, as a shell reports it for
          SIGPIPE, if the reader has gone.
        """
        try:
            self.flush()
        except BrokenPipeError:
            drop(self.fileno())
            return 141
        return 1 if self.lost else 0

    def _lose(self, error: OSError) -> None:
        if error.errno == errno.EPIPE:
            raise error
        # What is still in the buffer has to go somewhere when the process ends.
        drop(self.fileno())
        if not self.lost:
            self.lost = True
            with contextlib.suppress(OSError):
                sys.stderr.write(
                    f"warning: standard output cannot be written ({error.strerror}); "
                    "going on without it\n"
                )


def drop(number: int) -> None:
    """From here on what is written to this descriptor goes nowhere."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, number)
    os.close(nothing)


def open_streams() -> Output:
    """Makes the standard streams such that writing to them never fails.

    A stream that was closed is opened on nothing (a file opened later would otherwise
    become the standard output). What an encoding does not have is written as
    ``\\xe9``, also names of files that are not UTF-8.

    Returns:
      The standard output.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    if sys.stderr is None:
        sys.stderr = _stream(2, io.TextIOWrapper)
    sys.stderr.reconfigure(errors="backslashreplace")  # pyrefly: ignore
    if sys.stdout is None:
        sys.stdout = _stream(1, Output)
        sys.stdout.closed_before = True  # pyrefly: ignore
    elif not isinstance(sys.stdout, Output):
        old: Any = sys.stdout
        lines = old.line_buffering
        through = old.write_through  # of python -u
        encoding = old.encoding
        sys.stdout = Output(
            old.detach(),
            encoding=encoding,
            errors="backslashreplace",
            line_buffering=lines,
            write_through=through,
        )
    return sys.stdout  # pyrefly: ignore


def _stream(number: int, kind: type) -> Any:
    return kind(open(number, "wb", closefd=False), errors="backslashreplace")
