"""Image files that a CSV file lists with their labels."""

import codecs
import csv
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jdarts.data.base import DataConfig, RawImages, check_memory, some
from jdarts.data.image_files import PART_NAMES, Labelled, read_parts
from jdarts.errors import UserError
from jdarts.regular_file import open_regular

__all__ = ["label_text", "labelled_parts", "load"]

_SEPARATORS = (",", ";", "\t", "|")
_SAID = re.compile(r'sep=([^\w\s"]|[ \t])\r?\n', re.IGNORECASE)
_NO_LABEL = ("", "nan", "null", "<na>")

_COLUMNS = {
    "path": (
        "path",
        "image",
        "file",
        "filename",
        "filepath",
        "image_path",
        "file_name",
    ),
    "label": ("label", "class", "target", "category"),
    "split": ("split", "part", "set", "subset"),
}


def load(config: DataConfig) -> RawImages:
    """Reads the images that a CSV file lists in its columns ``path`` and ``label``.

    Columns are separated by commas, semicolons, tabs or bars, whichever the first row
    has, or by what a line ``sep=`` before it says, as Excel writes it. Paths are
    relative to the file's folder. Where there is a column ``split``, it says train,
    valid (val, validation) or test; otherwise all images are to train.

    Raises:
      UserError: if the file is not so, or an image cannot be read or differs from the
        first in size; it names the file and the row.
    """
    path = config.dir
    assert path is not None  # checked by jdarts.data.load
    if path.is_dir():
        raise UserError(f"{path}: is a folder; expected a CSV file")
    rows = _rows(path)
    head = [name.strip().lower() for name in rows[0]]
    places = {what: _place(path, head, what) for what in _COLUMNS}
    entries: list[tuple[str, str, Path, str]] = []
    missing: list[str] = []
    for number, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(head):
            raise UserError(
                f"{path}, row {number}: {len(row)} columns; expected {len(head)} as in "
                "the first row"
            )
        where, label = (row[places[what]].strip() for what in ("path", "label"))
        if not where:
            raise UserError(f"{path}, row {number}: no path; expected that of an image")
        label = label_text(f"{path}, row {number}", label)
        split = row[places["split"]] if places["split"] >= 0 else "train"
        source = path.parent / where
        if not os.path.exists(source) and "\\" in where:  # as Windows writes paths
            source = path.parent / where.replace("\\", "/")
        missing += [] if os.path.lexists(source) else [f"row {number} ({where})"]
        entries.append((_part(path, number, split), str(source), source, label))
    if missing and not config.skip_damaged:
        raise UserError(
            f"{path}: lists images that are not there: {some(missing)}; expected paths "
            f"relative to {path.parent}"
        )
    names, parts = labelled_parts(str(path), entries)
    return read_parts(config, parts, names)


def _rows(path: Path) -> list[list[str]]:
    """The cells of each row, of which there is one or more."""
    with open_regular(path) as file:
        size = file.seek(0, io.SEEK_END)
        check_memory((size, 10), str(path))
        file.seek(0)
        data = file.read()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(
            f"{path}: is UTF-16 text; expected UTF-8, in Excel 'CSV UTF-8 (Comma "
            "delimited)'"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not UTF-8 (byte {error.start}); expected text in UTF-8"
        ) from None
    if said := _SAID.match(text):
        text = text[said.end() :]
    if not text.strip():
        raise UserError(
            f"{path}: is empty; expected a first row of names, such as path,label"
        )
    head = text.splitlines()[0]
    try:
        separator = said[1] if said else max(_SEPARATORS, key=head.count)
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except csv.Error as error:
        raise UserError(f"{path}: not a CSV file ({error})") from None


def _place(path: Path, head: Sequence[str], what: str) -> int:
    """The number of a column; -1: the file has no ``split``."""
    found = [name for name in _COLUMNS[what] if name in head]
    if not found and what == "split":
        return -1
    found = [what] if what in found else found
    if len(found) != 1 or head.count(found[0]) != 1:
        raise UserError(
            f"{path}: its first row is {some([repr(n) for n in head])}; expected one "
            f"column '{what}' (or {', '.join(_COLUMNS[what][1:])})"
        )
    return head.index(found[0])


def _part(path: Path, number: int, split: str) -> str:
    for part, names in PART_NAMES.items():
        if split.strip().lower() in names:
            return part
    raise UserError(
        f"{path}, row {number}: the split {split!r}; expected train, valid or test"
    )


def label_text(where: str, label: Any) -> str:
    """The class that a cell of a table names.

    Args:
      where: the cell is, for the error.
      label: a word, a whole number or, where a table has gaps, that as a float.

    Raises:
      UserError: if it is anything else, or marks a gap.
    """
    if isinstance(label, bytes):
        label = label.decode("utf-8", "replace")
    if isinstance(label, float | np.floating) and float(label).is_integer():
        label = int(label)
    if isinstance(label, str | int) and str(label).strip().lower() not in _NO_LABEL:
        return str(label).strip()
    found = f"{label!r}" if isinstance(label, str | float) else type(label).__name__
    raise UserError(
        f"{where}: no label (found {found}); expected a whole number or a word"
    )


def labelled_parts(
    where: str, entries: Sequence[tuple[str, str, Path | bytes, str]]
) -> tuple[tuple[str, ...], dict[str, list[Labelled]]]:
    """The names of the classes, in order, and the images of each part.

    Args:
      where: of the data, for errors.
      entries: part, name, source and label of each image.

    Raises:
      UserError: if there are neither training nor test images, another part has a
        further label, or nearly every training image has its own.
    """
    there = {part for part, *_ in entries}
    first = next((part for part in ("train", "test") if part in there), None)
    if first is None:
        raise UserError(
            f"{where}: has no images to train or test; expected at least one"
        )
    found = [label for part, *_, label in entries if part == first]
    labels = set(found)
    if first == "train" and len(labels) > max(2, len(found) // 2):
        raise UserError(
            f"{where}: {len(labels):,} classes of {len(found):,} training images "
            f"({some(sorted(labels), 3)}); expected two or more images a class: is "
            "that the column of the labels?"
        )
    whole = all(re.fullmatch(r"-?[0-9]{1,18}", label) for label in labels)
    names = sorted(labels, key=lambda label: (int(label) if whole else 0, label))
    numbers = {label: number for number, label in enumerate(names)}
    parts: dict[str, list[Labelled]] = {part: [] for part in PART_NAMES}
    for part, name, source, label in entries:
        if label not in numbers:
            raise UserError(
                f"{where}: the part {part} has the label '{label}', which the part "
                f"{first} lacks; expected {some(names)}"
            )
        parts[part].append(Labelled(name, source, numbers[label]))
    return tuple(names), parts
