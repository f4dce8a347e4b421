"""Metrics of a run: one JSON object a line."""

import contextlib
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jdarts.errors import UserError
from jdarts.io.files import cannot, write_atomic

__all__ = ["MetricsLog", "read_metrics"]

_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class MetricsLog:
    """Appends rows to a metrics file, each on disk when `append` returns.

    A last line that a killed run left half-written is dropped on opening.
    """

    def __init__(self, path: Path) -> None:
        """Opens a file that may or may not exist.

        Raises:
          UserError: if it exists and cannot be read or mended.
        """
        self.path = path
        content = _read(path)
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            write_atomic(path, whole)

    def append(self, row: Mapping[str, Any]) -> None:
        """Writes one line.

        Args:
          row: names to numbers (Python's, NumPy's or JAX's scalars), strings, booleans
            or None, or to lists and mappings of these. JSON has no NaN or infinity:
            these are written as the strings ``"nan"``, ``"inf"``, ``"-inf"``.

        Raises:
          UserError: if the line cannot be written; none of it is then in the file.
        """
        line = json.dumps(_plain(row), allow_nan=False).encode() + b"\n"
        try:
            with self.path.open("ab", buffering=0) as file:
                size = file.seek(0, os.SEEK_END)
                try:
                    if file.write(line) != len(line):
                        raise OSError(None, "disk full")
                except BaseException:
                    with contextlib.suppress(OSError):
                        file.truncate(size)
                    raise
        except OSError as error:
            raise cannot(self.path, "written", error) from None

    def truncate_after(self, step: int) -> None:
        """Drops the rows whose ``"step"`` is greater than `step`; other lines stay
        byte for byte, so that a resumed run's file equals an unbroken one's.

        Raises:
          UserError: if a line is not a JSON object, or the file cannot be written.
        """
        self._keep(lambda row: _step(row) <= step)

    def drop_epoch(self, step: int) -> None:
        """Drops the row of the epoch that ends, whole or not, with a step.

        Raises:
          UserError: as `truncate_after`.
        """
        self._keep(lambda row: _step(row) != step or row.get("kind") == "step")

    def _keep(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        content = _read(self.path)
        lines = _lines(self.path, content)
        kept = b"".join(line for line, row in lines if wanted(row))
        if kept != content:
            write_atomic(self.path, kept)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file, oldest first; a half-written last line is ignored.

    Raises:
      UserError: if there is no such file, or another line is not a JSON object; it
        names the line.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file; expected the metrics of a run")
    rows = (row for _, row in _lines(path, _read(path)))
    return [_number(row) for row in rows]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise cannot(path, "read", error) from None


def _lines(path: Path, content: bytes) -> list[tuple[bytes, dict[str, Any]]]:
    """Each whole line with what it says."""
    lines = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
    return [(line, _row(path, i, line)) for i, line in enumerate(lines, start=1)]


def _row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        shown = line[:40].decode(errors="replace").strip()
        raise UserError(
            f"{path}, line {number}: not a JSON object: '{shown}'; "
            "expected one row of metrics"
        )
    return row


def _step(row: dict[str, Any]) -> float:
    step = row.get("step")
    return step if isinstance(step, int | float) else -math.inf


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _number(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _number(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_number(item) for item in value]
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value
