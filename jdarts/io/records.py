"""Reading what a run has left, as far as it can be used.

Whoever only shows records (reports, comparisons) reads them here: what is damaged is
left out, and a line says so. A form says what a value has to look like, see `misfit`.
"""

import dataclasses
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jdarts.errors import UserError, printable
from jdarts.io.files import read_json
from jdarts.io.genotypes import GenotypeLog
from jdarts.io.metrics import read_rows

__all__ = [
    "COUNT",
    "EPOCH",
    "FINITE",
    "NUMBER",
    "TEXT",
    "Arrays",
    "Columns",
    "Each",
    "Full",
    "Maybe",
    "Records",
    "Row",
    "misfit",
]

Row = dict[str, Any]
_log = logging.getLogger("jdarts")
_LARGEST = 1e100  # of a number; sums and differences of such ones are finite

NUMBER = "a number"
"""A form: a finite number, or NaN or an infinity where metrics have them."""
FINITE = "a finite number"
COUNT = "a whole number >= 0"
EPOCH = "an epoch, from 1 on"
TEXT = "a text"


class Maybe(NamedTuple):
    """A form, or None."""

    form: Any


class Each(NamedTuple):
    """A JSON object of any names, all of whose values have a form."""

    form: Any


class Columns(NamedTuple):
    """A JSON object with at least these names; other values have the form `rest`."""

    names: Mapping[str, Any]
    rest: Any


class Full(NamedTuple):
    """A list with at least one entry, all of which have a form."""

    form: Any


class Arrays(NamedTuple):
    """A JSON object with arrays of finite numbers: name to shape; if `all`, no less."""

    shapes: Mapping[str, tuple[int, ...]]
    all: bool = True


def misfit(value: Any, form: Any, where: str = "") -> str | None:
    """What is wrong with a value, in words; None if it has the form.

    Args:
      value: parsed JSON.
      form: NUMBER, FINITE, COUNT, TEXT, or one of the classes here;
        ``[form]``: a list with entries of that form; ``{name: form}``: a JSON object
        with these names at least; a tuple: one of its values.
      where: the value's name, for the words.
    """
    if isinstance(form, Maybe):
        return None if value is None else misfit(value, form.form, where)
    if isinstance(form, _Object):
        if not isinstance(value, dict):
            return f"{where}: not a JSON object".lstrip(": ")
        if isinstance(form, Arrays):
            return _of_arrays(value, form, where)
        return _of_names(value, _names(value, form), where)
    if isinstance(form, list | Full):
        if not isinstance(value, list) or (isinstance(form, Full) and not value):
            return f"{where}: {_short(value)}, expected a list".lstrip(": ")
        own = form[0]
        found = (misfit(v, own, f"{where}[{i}]") for i, v in enumerate(value))
        return next((text for text in found if text), None)
    if isinstance(form, str):
        good, expected = _PLAIN[form](value), form
    else:
        good, expected = value in form, " or ".join(map(str, form))
    return None if good else f"{where}: {_short(value)}, expected {expected}"


_Object = dict | Each | Columns | Arrays


def _names(value: dict, form: dict | Each | Columns) -> Mapping[str, Any]:
    """The form of every name that has one."""
    if isinstance(form, Each):
        return dict.fromkeys(value, form.form)
    if isinstance(form, Columns):
        return dict.fromkeys(value, form.rest) | dict(form.names)
    return form


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    endless = isinstance(value, float) and not math.isfinite(value)
    return endless or abs(value) <= _LARGEST


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


_PLAIN: dict[str, Callable[[Any], bool]] = {
    NUMBER: _is_number,
    FINITE: lambda value: _is_number(value) and math.isfinite(value),
    COUNT: _is_count,
    EPOCH: lambda value: _is_count(value) and 1 <= value < 2**31,
    TEXT: lambda value: isinstance(value, str),
}


def _of_names(value: dict, form: Mapping[str, Any], where: str) -> str | None:
    for name, own in form.items():
        place = f"{where}.{name[:40]}".lstrip(".")
        if name not in value:
            return f"{place}: not there"
        if text := misfit(value[name], own, place):
            return text
    return None


def _of_arrays(value: dict, form: Arrays, where: str) -> str | None:
    if form.all and value.keys() != form.shapes.keys():
        return f"{where}: of {', '.join(value) or 'nothing'}"
    for name, found in value.items():
        try:
            array = np.array(found, float)
        except (TypeError, ValueError, OverflowError):
            return f"{where}.{name}: not an array of numbers"
        if array.shape != form.shapes.get(name) or not (abs(array) < _LARGEST).all():
            return (
                f"{where}.{name}: not finite numbers of shape {form.shapes.get(name)}"
            )
    return None


def _short(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 1e20 else "huge"
    return text if len(text) <= 40 else f"{text[:40]}..."


@dataclasses.dataclass(frozen=True)
class Records:
    """Reads records; each that cannot be used is left out and noted.

    Attributes:
      damage: a line for everything that was left out.
    """

    damage: list[str] = dataclasses.field(default_factory=list)

    def note(self, line: str) -> None:
        """Notes a line; it is also a warning on the terminal."""
        line = " ".join(line.split())
        if line not in self.damage:
            self.damage.append(line)
            _log.warning("%s", printable(line))

    def rows(self, path: Path, forms: Mapping[str, Any]) -> list[Row]:
        """The usable rows of a file with one JSON object a line; none if it is not
        there.

        Args:
          path: the file.
          forms: ``kind`` of a row to its form.
        """
        try:
            lines = read_rows(path)
        except UserError as error:
            self.note(f"{error}; left out")
            return []
        rows, faults = [], []
        for number, row in lines:
            kind = row.get("kind") if row is not None else None
            if row is None:
                faults.append((number, "not a JSON object"))
            elif not isinstance(kind, str) or kind not in forms:
                faults.append((number, f"of unknown kind {_short(kind)}"))
            elif text := misfit(row, forms[kind]):
                faults.append((number, text))
            else:
                rows.append(row)
        if faults:
            (number, text), more = faults[0], len(faults) - 1
            tail = f"; +{more} more" if more else ""
            self.note(f"{path}, line {number}: damaged ({text}){tail}; left out")
        return rows

    def json(self, path: Path, form: Any) -> Any:
        """The content of a JSON file of a form; None if it is not there or damaged."""
        if not path.exists():
            return None
        try:
            data = read_json(path)
        except UserError as error:
            self.note(f"{error}; left out")
            return None
        if text := misfit(data, form):
            self.note(f"{path}: damaged ({text}); left out")
            return None
        return data

    def genotypes(self, path: Path) -> GenotypeLog | None:
        """The genotypes of a run; None if the file is not there or damaged."""
        if not path.exists():
            return None
        try:
            return GenotypeLog(path)
        except UserError as error:
            self.note(f"{error}; left out")
            return None
