"""Tables of images and labels in Parquet files, as Hugging Face writes them."""

import json
import re
from pathlib import Path
from typing import Any

from jdarts.data.base import DataConfig, RawImages, check_memory, some
from jdarts.data.csv_file import labelled_parts
from jdarts.data.image_files import PART_NAMES, Labelled, read_parts
from jdarts.data.pictures import open_regular
from jdarts.errors import UserError

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
    held = 0
    for part, paths in files.items():
        for path in paths:
            held += path.stat().st_size
            check_memory((held, 2), f"{root}: images up to {path.name}")
            own, rows = _rows(path)
            if names and own != names:
                raise UserError(
                    f"{path}: has other names of classes than the files before; "
                    "expected the same"
                )
            names = own
            entries += [(part, name, source, label) for name, source, label in rows]
    notes = (f"left out, other files: {some(others)}",) if others else ()
    if not names:
        words = [(p, name, source, str(label)) for p, name, source, label in entries]
        names, parts = labelled_parts(str(root), words)
        return read_parts(config, parts, names, notes)
    parts = {part: [] for part in PART_NAMES}
    for part, name, source, label in entries:
        if type(label) is not int or not 0 <= label < len(names):
            raise UserError(
                f"{name}: the label {label!r}; expected 0 to {len(names) - 1}"
            )
        parts[part].append(Labelled(name, source, label))
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
    if not found["train"]:
        raise UserError(
            f"{folder}: found {some(others) or 'nothing'}; expected train-*.parquet, "
            "and validation-*.parquet and test-*.parquet if there are such parts"
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
    try:
        with open_regular(path) as file:
            table = ParquetFile(file)
            image, label = _columns(path, table.schema_arrow.names)
            for batch in table.iter_batches(_ROWS, columns=[image, label]):
                for row in batch.to_pylist():
                    name = f"{path}, row {len(rows) + 1}"
                    rows.append((name, _source(name, row[image]), row[label]))
            return _names(table.schema_arrow.metadata or {}, label), rows
    except (ArrowException, ValueError, TypeError, OSError) as error:
        if isinstance(error, OSError) and error.filename:
            raise
        raise UserError(
            f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})"
        ) from None


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
