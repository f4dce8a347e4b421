"""Whether what lies on disk may be run: owners and modes of files and folders.

Compiled code from a cache is run as it is. So it is only taken from where nobody but
this user and the administrator can write, by the rules of ssh: each folder of the path
belongs to one of the two and is not writable by others (or has the sticky bit, if it is
not the last one), and so is the file. Folders above the user's home are the
administrator's affair.
"""

import contextlib
import logging
import os
import stat
from pathlib import Path

__all__ = ["read_trusted", "trusted", "trusted_folder"]

_log = logging.getLogger("jdarts")
_MOST_LINKS = 40  # followed, as by the system
_warned: set[str] = set()


def trusted_folder(folder: Path) -> bool:
    """Whether code from a folder may be run; makes it (mode 0700) if it is not there.

    Says in one line, once in a process, why not.
    """
    try:
        for part in reversed((folder, *folder.parents)):
            with contextlib.suppress(FileExistsError):
                if not part.is_dir():
                    part.mkdir(mode=0o700)
        fault = _fault(folder.absolute()) or _of_status(folder, os.stat(folder))
        if not fault and not folder.is_dir():
            fault = f"{folder}: not a folder"
    except OSError as error:
        fault = f"{error.filename or folder}: {error.strerror}"
    if fault:
        _warn(f"{fault}; no compiled code is kept in {folder} or taken from it")
    return not fault


def trusted(path: Path) -> bool:
    """Whether a file that is there may be run: it, and its folder as `trusted_folder`.

    Says in one line, once in a process, why not; then the file is to be made again.

    Raises:
      FileNotFoundError: if there is no such file.
    """
    descriptor = _open(path)
    if descriptor is None:
        return False
    os.close(descriptor)
    return True


def read_trusted(path: Path) -> bytes | None:
    """The contents of a file if it is `trusted`; None otherwise.

    Raises:
      FileNotFoundError: if there is no such file.
      OSError: if it cannot be read.
    """
    descriptor = _open(path)
    if descriptor is None:
        return None
    with open(descriptor, "rb") as file:
        return file.read()


def _open(path: Path) -> int | None:
    """Opens the file and checks what was opened, which nobody can exchange any more."""
    if not trusted_folder(path.parent):
        return None
    try:  # without waiting for the writer of a pipe
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise
    except OSError as error:  # a link, for one
        _warn(f"{path}: {error.strerror}; not used")
        return None
    status = os.fstat(descriptor)
    fault = _of_status(path, status)
    if not fault and not stat.S_ISREG(status.st_mode):
        fault = f"{path}: not a file"
    if fault:
        os.close(descriptor)
        _warn(f"{fault}; not used")
        return None
    return descriptor


def _fault(path: Path, links: int = _MOST_LINKS) -> str | None:
    """What is wrong with the folders of an absolute path; links are followed."""
    above_home = _above_home()
    for part in reversed((path, *path.parents)):
        status = os.lstat(part)
        if stat.S_ISLNK(status.st_mode):
            if status.st_uid not in _owners():
                return f"{part}: a link that belongs to user {status.st_uid}"
            if not links:
                return f"{part}: too many links"
            target = part.parent / os.readlink(part) / path.relative_to(part)
            return _fault(target, links - 1)
        kept = status.st_mode & stat.S_ISVTX  # others cannot move what is not theirs
        if part not in above_home and (fault := _of_status(part, status, bool(kept))):
            return fault
    return None


def _of_status(path: Path, status: os.stat_result, shared: bool = False) -> str | None:
    """What is wrong with the owner of one file or folder or, unless it may be `shared`,
    with its mode."""
    if status.st_uid not in _owners():
        return f"{path}: belongs to user {status.st_uid}, not to user {os.geteuid()}"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not shared:
        mode = stat.S_IMODE(status.st_mode)
        return f"{path}: others can write it (mode {mode:o}; `chmod go-w` mends that)"
    return None


def _owners() -> tuple[int, int]:
    return os.geteuid(), 0


def _above_home() -> set[Path]:
    """Not to be checked, if there is a home of this user's own."""
    with contextlib.suppress(OSError, RuntimeError):  # none, or no entry for the user
        home = Path.home()
        if os.stat(home).st_uid == os.geteuid():
            return set(home.parents)
    return set()


def _warn(line: str) -> None:
    if line not in _warned:
        _warned.add(line)
        _log.warning("%s", line)
