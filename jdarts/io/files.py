"""Files that are either written whole or not at all."""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from jdarts.errors import UserError
from jdarts.regular_file import read_regular

__all__ = ["file_digest", "is_temporary", "read_json", "write_atomic", "write_json"]


def write_atomic(path: Path, content: str | bytes, private: bool = False) -> None:
    """Replaces a file by `content`; a crash leaves the old file or the new one.

    Args:
      path: the file; its folder must exist.
      content: text, written as UTF-8 (what is none, in names of files, as ``\\udcff``),
        or bytes.
      private: nobody else may read or write it.

    Raises:
      UserError: if it cannot be written; the old file is then untouched.
    """
    text = isinstance(content, str)
    data = content.encode(errors="backslashreplace") if text else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            with temporary.open("wb") as file:
                if private:
                    os.fchmod(file.fileno(), 0o600)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise cannot(path, "written", error) from None
    _sync_folder(path.parent)


def is_temporary(name: str) -> bool:
    """Whether it is what a kill leaves of `write_atomic`."""
    return name.startswith(".") and name.endswith(".tmp")


def write_json(path: Path, data: Any) -> None:
    """Writes plain data as indented JSON, atomically.

    Raises:
      UserError: if the file cannot be written.
    """
    write_atomic(path, json.dumps(data, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """The parsed content of a JSON file.

    Raises:
      UserError: if the file cannot be read or is not JSON.
    """
    try:
        return json.loads(read_regular(path))
    except OSError as error:
        raise cannot(path, "read", error) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error})") from None


def file_digest(path: Path) -> str:
    """SHA-256 of a file's contents.

    Raises:
      UserError: if it cannot be read.
    """
    try:
        return hashlib.sha256(read_regular(path)).hexdigest()
    except OSError as error:
        raise cannot(path, "read", error) from None


def cannot(path: Path, done: str, error: OSError) -> UserError:
    """The error for a file or folder that the system refuses to let be `done`."""
    return UserError(f"{path}: cannot be {done} ({error.strerror or error})")


def _sync_folder(folder: Path) -> None:
    """Makes a rename durable, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
