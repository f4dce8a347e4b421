"""Reads texts: from standard files in folders or zips, from one file, from Python."""

import zipfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from jdarts.data.base import DAMAGED
from jdarts.errors import UserError

__all__ = ["Parts", "one_file", "ptb", "topics", "wikitext2"]


class Parts(NamedTuple):
    """The text of each part."""

    train: str
    valid: str
    test: str


def ptb(path: Path | None) -> Parts:
    """Penn Treebank as the language models of Mikolov et al. (2010) use it."""
    return _standard(path, "ptb.{}.txt")


def wikitext2(path: Path | None) -> Parts:
    """WikiText-2 (Merity et al., ICLR 2017), word level."""
    return _standard(path, "wiki.{}.tokens")


def one_file(path: Path | None) -> Parts:
    """The first 90 % of the characters, then 5 %, then the rest; cut between lines
    where there are lines."""
    assert path is not None  # checked by `load_text`
    if path.is_dir():
        raise UserError(f"{path}: is a folder; expected a UTF-8 text file")
    return _divide(_decode(_read(path), str(path)))


def topics(path: Path | None) -> Parts:
    """The pages that Python's ``help()`` shows of the language, in alphabetical order.

    They differ a little between versions of Python.
    """
    del path
    # Imported here: it is a large module that only this text needs.
    from pydoc_data.topics import topics as pages

    return _divide("".join(pages[name].rstrip() + "\n" for name in sorted(pages)))


def _divide(text: str) -> Parts:
    first, second = (_cut(text, share) for share in (0.9, 0.95))
    return Parts(text[:first], text[first:second], text[second:])


def _cut(text: str, share: float) -> int:
    """After the first end of a line from there on, if one is near."""
    place = int(share * len(text))
    end = text.find("\n", max(place - 1, 0), place + len(text) // 100)
    return place if end < 0 else end + 1


def _standard(path: Path | None, pattern: str) -> Parts:
    assert path is not None  # checked by `load_text`
    names = [pattern.format(part) for part in Parts._fields]
    read = _from_folder if path.is_dir() else _from_zip
    return Parts(*read(path, names))


def _from_folder(path: Path, names: list[str]) -> list[str]:
    missing = [name for name in names if not (path / name).is_file()]
    if missing:
        raise _missing(path, missing, names)
    return [_decode(_read(path / name), str(path / name)) for name in names]


def _from_zip(path: Path, names: list[str]) -> list[str]:
    """Whatever folder in it they are in."""
    try:
        with zipfile.ZipFile(path) as archive:
            inside = {
                PurePosixPath(n).name: n
                for n in archive.namelist()
                if not n.startswith("__MACOSX/")
            }
            missing = [name for name in names if name not in inside]
            if missing:
                raise _missing(path, missing, names)
            return [
                _decode(archive.read(inside[name]), f"{path}, {name}") for name in names
            ]
    except (OSError, *DAMAGED) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); expected a folder or a zip with "
            f"{', '.join(names)}"
        ) from None


def _missing(path: Path, missing: list[str], names: list[str]) -> UserError:
    return UserError(
        f"{path}: has no {', no '.join(missing)}; expected {', '.join(names)}"
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def _decode(data: bytes, where: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where}: not UTF-8 (byte {error.start}: {data[error.start]:#04x}); "
            "expected text in UTF-8"
        ) from None
    return text.replace("\r\n", "\n")
