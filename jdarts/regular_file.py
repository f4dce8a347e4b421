"""Files are read only if they are files: pipes and devices are not opened."""

import errno
import io
import os
import stat
from pathlib import Path

__all__ = ["open_regular", "read_regular"]


def open_regular(path: Path) -> io.BufferedReader:
    """Opens a file to read, if it is one.

    A pipe would block for ever and a device may never end, so neither is opened.

    Raises:
      OSError: if there is none, or it is something else.
    """
    kind = stat.S_IFMT(os.stat(path).st_mode)
    if kind != stat.S_IFREG:
        what = f"is {_KINDS.get(kind, 'no file')}, not a file"
        raise OSError(errno.EINVAL, what, str(path))
    return path.open("rb")


def read_regular(path: Path) -> bytes:
    """What is in a file.

    Raises:
      OSError: as `open_regular`, or if it cannot be read.
    """
    with open_regular(path) as file:
        return file.read()


_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
