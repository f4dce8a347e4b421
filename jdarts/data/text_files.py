"""Reads texts: from standard files in folders or zips, from one file, from Python."""

import os
import zipfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from jdarts.data.base import DAMAGED, check_memory, some
from jdarts.errors import UserError
from jdarts.regular_file import open_regular

__all__ = ["Parts", "one_file", "ptb", "topics", "wikitext2"]

_MOST_BYTES = 2**30  # of a text: fifty times WikiText-2


class Parts(NamedTuple):
    """The text of each part."""

    train: str
    valid: str
    test: str


def ptb(path: Path | None) -> Parts:
    """Penn Treebank as the language models of Mikolov et al. (2010) use it."""
    return _standard(path, ("ptb.{}.txt", "{}.txt"))


def wikitext2(path: Path | None) -> Parts:
    """WikiText-2 (Merity et al., ICLR 2017), word level."""
    return _standard(path, ("wiki.{}.tokens", "{}.txt"))


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


def _standard(path: Path | None, patterns: tuple[str, ...]) -> Parts:
    """Three files that are named by one of the patterns, in one folder."""
    assert path is not None  # checked by `load_text`
    namings = [[p.format(part) for part in Parts._fields] for p in patterns]
    read = _from_folder if path.is_dir() else _from_zip
    return Parts(*read(path, namings))


def _from_folder(path: Path, namings: list[list[str]]) -> list[str]:
    """In the folder itself, or in one folder in it."""
    folders = [path, *sorted(p for p in path.iterdir() if p.is_dir())]
    for names in namings:
        found = [f for f in folders if all((f / name).exists() for name in names)]
        if path in found or len(found) == 1:
            return [_decode(_read(found[0] / n), str(found[0] / n)) for n in names]
        if found:
            raise _several(path, [str(f) for f in found], names)
    missing = [name for name in namings[0] if not (path / name).exists()]
    raise _missing(path, missing or namings[0], namings)


def _from_zip(path: Path, namings: list[list[str]]) -> list[str]:
    """Whatever one folder in it they are in."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            inside = {
                (str(p.parent), p.name): info
                for info in archive.infolist()
                if not info.filename.startswith("__MACOSX/")
                for p in [PurePosixPath(info.filename)]
            }
            folders = sorted({folder for folder, _ in inside})
            for names in namings:
                found = [f for f in folders if all((f, n) in inside for n in names)]
                if len(found) > 1:
                    raise _several(path, found, names)
                for folder in found:
                    return [
                        _unpacked(archive, inside[folder, n], f"{path}, {n}")
                        for n in names
                    ]
            missing = [n for n in namings[0] if all(n != own for _, own in inside)]
            raise _missing(path, missing or namings[0], namings)
    except (OSError, *DAMAGED) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); expected a folder or a zip with "
            f"{_expected(namings)}"
        ) from None


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> str:
    _check_size(info.file_size, where)  # no more is read, whatever is there
    return _decode(archive.read(info), where)


def _missing(path: Path, missing: list[str], namings: list[list[str]]) -> UserError:
    return UserError(
        f"{path}: has no {', no '.join(missing)}; expected {_expected(namings)}"
    )


def _several(path: Path, folders: list[str], names: list[str]) -> UserError:
    return UserError(
        f"{path}: has {', '.join(names)} in {some(folders)}; expected one folder"
    )


def _expected(namings: list[list[str]]) -> str:
    return ", or ".join(", ".join(names) for names in namings)


def _check_size(size: int, where: str) -> None:
    """Raises unless a text can be held, with a number for each of its tokens."""
    if size > _MOST_BYTES:
        raise UserError(
            f"{where}: {size / 2**30:.1f} GiB of text; expected at most "
            f"{_MOST_BYTES / 2**30:.0f} GiB"
        )
    check_memory((size, 16), f"{where}, with its tokens")


def _read(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            _check_size(os.fstat(file.fileno()).st_size, str(path))
            return file.read()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None


def _decode(data: bytes, where: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where}: not UTF-8 (byte {error.start}: {data[error.start]:#04x}); "
            "expected text in UTF-8"
        ) from None
    return text.replace("\r\n", "\n")
