"""Tables of images and labels in Parquet files, as Hugging Face writes them."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jdarts.data.base import DataConfig, RawImages, check_memory, some
from jdarts.data.csv_file import label_text, labelled_parts
from jdarts.data.image_files import PART_NAMES, Labelled, read_parts
from jdarts.errors import UserError
from jdarts.regular_file import open_regular

__all__ = ["load"]

_IMAGES = ("image", "img", "picture", "photo")
_LABELS = ("label", "labels", "fine_label", "class", "target")
_SPLIT = re.compile(r"(?P<part>[a-z]+)([-_.].*)?\.parquet")
_ROWS = 256  # read at a time


def load(config: DataConfig) -> RawImages:
    """Reads one file, whose images are all to train, or a folder (or its folder
    ``data``) of files whose names begin with train, validation (valid, val) or test.

    A column ``image`` holds files (``bytes``, or a ``path`` relative to the folder), a
    column ``label`` whole numbers or words. Classes have the names that the file tells
    of.

    Raises:
      UserError: if pyarrow is missing, a file is not so, or an image cannot be read or
        differs from the first in size; it names the file and the row.
    """
    root = config.dir
    assert root is not None  # checked by jdarts.data.load
    files, others = _files(root)
    entries: list[tuple[str, str, Path | bytes, Any]] = []
    names: tuple[str, ...] = ()
    parts: dict[str, list[Labelled]]
    for part, paths in files.items():
        for path in paths:
            own, rows = _rows(path)
            if names and own != names:
                raise UserError(
                    f"{path}: has other names of classes than the files before; "
                    "expected the same"
                )
            names = own
            entries += [(part, name, source, label) for name, source, label in rows]
    if not entries:
        raise UserError(f"{root}: has no rows; expected at least one image")
    notes = (f"left out, other files: {some(others)}",) if others else ()
    if not names:
        words = [
            (p, n, source, label_text(n, label)) for p, n, source, label in entries
        ]
        names, parts = labelled_parts(str(root), words)
        return read_parts(config, parts, names, notes)
    numbers = {str(number): number for number in range(len(names))}
    parts = {part: [] for part in PART_NAMES}
    for part, name, source, label in entries:
        text = label_text(name, label)
        if text not in numbers:
            raise UserError(
                f"{name}: the label {some([text])}; expected 0 to {len(names) - 1}"
            )
        parts[part].append(Labelled(name, source, numbers[text]))
    return read_parts(config, parts, names, notes)


def _files(root: Path) -> tuple[dict[str, list[Path]], list[str]]:
    """The files of each part, and the names of others."""
    if not root.is_dir():
        return {"train": [root]}, []
    folder = root
    if not any(root.glob("*.parquet")) and (root / "data").is_dir():
        folder = root / "data"
    found: dict[str, list[Path]] = {part: [] for part in PART_NAMES}
    others = []
    for path in sorted(folder.iterdir()):
        match = _SPLIT.fullmatch(path.name.lower())
        part = [p for p, own in PART_NAMES.items() if match and match["part"] in own]
        if part:
            found[part[0]].append(path)
        elif not path.name.startswith("."):
            others.append(path.name)
    if not found["train"] and not found["test"]:
        raise UserError(
            f"{folder}: found {some(others) or 'nothing'}; expected train-*.parquet "
            "(to evaluate, test-*.parquet is enough), and validation-*.parquet if that "
            "part is there"
        )
    return found, others


def _rows(path: Path) -> tuple[tuple[str, ...], list[tuple[str, Path | bytes, Any]]]:
    """The names of the classes, if the file has any; and of each row its name, image
    and label."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise UserError(
            f"{path}: pyarrow is not installed; expected the extra jdarts[parquet]"
        ) from None
    rows: list[tuple[str, Path | bytes, Any]] = []
    known: dict[Path | bytes, Path | bytes] = {}
    try:
        with open_regular(path) as file:
            table = ParquetFile(file)
            image, label = columns = _columns(path, table.schema_arrow.names)
            whole = _Whole(path, table.metadata, columns)
            # Bytes that rows share stay shared: 3 kB can hold 200 times 50 MB.
            table = ParquetFile(file, read_dictionary=whole.texts)
            for batch in _batches(table, [image, label]):
                new = 0
                cells = (_cells(batch.column(name)) for name in columns)
                for cell, found in zip(*cells, strict=True):
                    name = f"{path}, row {len(rows) + 1}"
                    source = _source(name, cell)
                    if source not in known:
                        new += len(source) if isinstance(source, bytes) else 0
                    rows.append((name, known.setdefault(source, source), found))
                check_memory((new,), f"{path}: images of row {len(rows)}")
            return _names(table.schema_arrow.metadata or {}, label), rows
    except (ArrowException, ValueError, TypeError, OSError) as error:
        if isinstance(error, OSError) and error.filename:
            raise
        raise UserError(
            f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})"
        ) from None


def _batches(table: Any, columns: list[str]) -> Iterator[Any]:
    """The rows, some at a time; never of two groups, whose dictionaries differ."""
    for group in range(table.metadata.num_row_groups):
        yield from table.iter_batches(_ROWS, columns=columns, row_groups=[group])


class _Whole:
    """What a file says of its size, checked.

    Attributes:
      texts: the paths of the leaves, within the columns, that hold bytes.
    """

    def __init__(self, path: Path, metadata: Any, columns: Sequence[str]) -> None:
        schema = metadata.schema
        leaves = [schema.column(i) for i in range(len(schema.names))]
        own = [i for i, leaf in enumerate(leaves) if leaf.path.split(".")[0] in columns]
        self.texts = [
            leaves[i].path for i in own if leaves[i].physical_type == "BYTE_ARRAY"
        ]
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        size = sum(g.column(i).total_uncompressed_size for g in groups for i in own)
        check_memory((size,), f"{path}: its images")
        check_memory((metadata.num_rows, 500), f"{path}: {metadata.num_rows:,} rows")


def _cells(column: Any) -> list[Any]:
    """The values of a column, those of a struct as dictionaries."""
    if hasattr(column, "flatten") and hasattr(column, "field"):  # a struct
        names = [field.name for field in column.type]
        values = zip(*map(_cells, column.flatten()), strict=True)
        return [dict(zip(names, row, strict=True)) for row in values]
    if hasattr(column, "dictionary"):
        places = column.indices.to_pylist()
        known = {i: column.dictionary[i].as_py() for i in {*places} - {None}}
        return [known.get(i) for i in places]
    return column.to_pylist()


def _columns(path: Path, names: list[str]) -> tuple[str, str]:
    """The columns of the images and of the labels."""
    chosen = []
    for known in (_IMAGES, _LABELS):
        found = [name for name in known if name in names]
        if not found:
            raise UserError(
                f"{path}: has the columns {some(names)}; expected {known[0]} (or "
                f"{', '.join(known[1:])})"
            )
        chosen.append(found[0])
    return chosen[0], chosen[1]


def _source(name: str, value: Any) -> Path | bytes:
    """The file of an image: its content, or where it is."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict):
        if isinstance(value.get("bytes"), bytes):
            return value["bytes"]
        if isinstance(value.get("path"), str):
            return Path(name.rsplit(", row ", 1)[0]).parent / value["path"]
    raise UserError(f"{name}: holds no image; expected bytes, or bytes and a path")


def _names(metadata: dict[bytes, bytes], label: str) -> tuple[str, ...]:
    """The names of the classes, from what Hugging Face writes into the schema."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        return ()
    return tuple(names)
