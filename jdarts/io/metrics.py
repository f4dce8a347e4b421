"""Metrics of a run: one JSON object a line."""

import contextlib
import json
import logging
import math
import os
import zlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jdarts.errors import UserError
from jdarts.io.files import cannot, write_atomic
from jdarts.regular_file import read_regular

__all__ = ["MetricsLog", "read_metrics", "read_rows"]

_log = logging.getLogger("jdarts")
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
        self._marks = [_mark(line, _parsed(line)) for line in _split(whole)]

    def append(self, row: Mapping[str, Any]) -> None:
        """Writes one line.

        Args:
          row: names to numbers (Python's, NumPy's or JAX's scalars), strings, booleans
            or None, or to lists and mappings of these. JSON has no NaN or infinity:
            these are written as the strings ``"nan"``, ``"inf"``, ``"-inf"``.

        Raises:
          UserError: if the line cannot be written; none of it is then in the file.
        """
        plain = _plain(row)
        line = json.dumps(plain, allow_nan=False).encode() + b"\n"
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
        self._marks.append(_mark(line, plain))

    def pin(self, step: int, kinds: Collection[str] = ()) -> dict[str, Any]:
        """What the file holds up to a step, in short, to be compared later on.

        Args:
          step: rows of steps up to it, and of epochs that end before it.
          kinds: of rows; none: all.

        Returns:
          ``rows``, their number; ``crc``, a checksum; ``last``, whether there is the
          row of an epoch that ends, whole or not, with the step: it may be written
          again, so it is not in the two others.
        """
        rows = [m for m in self._marks if not kinds or m.kind in kinds]
        kept = [m for m in rows if m.step < step + (m.kind == "step")]
        checksums = "".join(f"{mark.crc:08x}" for mark in kept)
        last = any(m.step == step and m.kind != "step" for m in rows)
        return {
            "rows": len(kept),
            "crc": zlib.crc32(checksums.encode()),
            "last": last,
        }

    def ends(self) -> set[float]:
        """The steps at which the epochs end whose rows there are."""
        epochs = (mark.step for mark in self._marks if mark.kind == "epoch")
        return {step for step in epochs if 0 <= step < 2**53}

    def truncate_after(self, step: int) -> None:
        """Drops the rows whose ``"step"`` is greater than `step`; other lines stay
        byte for byte, so that a resumed run's file equals an unbroken one's. What is no
        JSON object is dropped, too, with a warning.

        Raises:
          UserError: if the file cannot be written.
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
        lines = [(line, _parsed(line)) for line in _split(content)]
        bad = [number for number, (_, row) in enumerate(lines, 1) if row is None]
        if bad:
            more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
            _log.warning("%s: line %d%s damaged; dropped", self.path, bad[0], more)
        kept = [(line, row) for line, row in lines if row is not None and wanted(row)]
        whole = b"".join(line for line, _ in kept)
        if whole != content:
            write_atomic(self.path, whole)
        self._marks = [_mark(line, row) for line, row in kept]


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


def read_rows(path: Path) -> list[tuple[int, dict[str, Any] | None]]:
    """Each whole line's number, from 1, with its row; None of one that is no JSON
    object. Nothing if there is no such file.

    Raises:
      UserError: if the file cannot be read.
    """
    lines = _split(_read(path))
    found = ((number, _parsed(line)) for number, line in enumerate(lines, 1))
    return [(n, None if row is None else _number(row)) for n, row in found]


def _read(path: Path) -> bytes:
    try:
        return read_regular(path)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise cannot(path, "read", error) from None


def _lines(path: Path, content: bytes) -> list[tuple[bytes, dict[str, Any]]]:
    """Each whole line with what it says."""
    lines = _split(content)
    return [(line, _row(path, i, line)) for i, line in enumerate(lines, start=1)]


def _split(content: bytes) -> list[bytes]:
    return content[: content.rfind(b"\n") + 1].splitlines(keepends=True)


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The JSON object in a line, if it is one."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    row = _parsed(line)
    if row is None:
        shown = line[:40].decode(errors="replace").strip()
        raise UserError(
            f"{path}, line {number}: not a JSON object: '{shown}'; "
            "expected one row of metrics"
        )
    return row


def _step(row: Mapping[str, Any]) -> float:
    step = row.get("step")
    return step if isinstance(step, int | float) else -math.inf


class _Mark(NamedTuple):
    """What is remembered of a row."""

    kind: str
    step: float
    crc: int


def _mark(line: bytes, row: Mapping[str, Any] | None) -> _Mark:
    row = row or {}
    return _Mark(str(row.get("kind")), _step(row), zlib.crc32(line))


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
