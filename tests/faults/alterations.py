"""What can happen to a file: one function an alteration."""

import builtins
import errno
import io
import json
import os
import random
import shutil


def deleted(path):
    path.unlink()


def emptied(path):
    path.write_bytes(b"")


def cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def replaced_by_a_folder(path):
    path.unlink()
    path.mkdir()


def replaced_by_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


_unreadable = {}  # path to its open file: what replaces it is another one
_open = io.open


def unreadable(path):
    """As with mode 000, until `copy_of`; also to root, who may read such a file."""
    _unreadable[str(path)] = os.open(path, os.O_RDONLY)
    builtins.open = io.open = _refusing  # `pathlib` looks it up in `io`


def _refusing(file, *arguments, **options):
    held = _unreadable.get(str(file))
    if held is not None and os.path.exists(file):
        if os.path.samestat(os.fstat(held), os.stat(file)):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
    return _open(file, *arguments, **options)


def all_readable():
    """Ends what `unreadable` began."""
    builtins.open = io.open = _open
    while _unreadable:
        os.close(_unreadable.popitem()[1])


def one_byte(seed):
    def changed(path):
        content = bytearray(path.read_bytes())
        rng = random.Random(seed)  # whatever the name, which may be random
        if content:
            place = int(rng.random() * len(content))
            content[place] ^= 1 << rng.randrange(8)
        path.write_bytes(content)

    changed.__name__ = f"one_byte_{seed}"
    return changed


def another_type(value):
    """The whole file, or every row of it, is another JSON value."""

    def replaced(path):
        lines = path.read_text().count("\n") if path.suffix == ".jsonl" else 1
        path.write_text(f"{value}\n" * lines)

    replaced.__name__ = f"type_{value}"
    return replaced


def values(name, new):
    """All numbers (or texts, or lists) inside are another value."""
    kind = {"numbers": (int, float), "texts": str, "lists": list}[name]

    def replace(data, inside=False):
        if isinstance(data, bool) or data is None:
            return data
        if inside and isinstance(data, kind):
            return new
        if isinstance(data, dict):
            return {
                key: value if key == "kind" else replace(value, True)
                for key, value in data.items()
            }
        if isinstance(data, list):
            return [replace(value, True) for value in data]
        return data

    def replaced(path):
        lines = path.read_text().splitlines() if path.suffix == ".jsonl" else None
        if lines is None:
            path.write_text(json.dumps(replace(json.loads(path.read_text()))))
        else:
            rows = [json.dumps(replace(json.loads(line))) for line in lines]
            path.write_text("".join(f"{row}\n" for row in rows))

    replaced.__name__ = f"{name}_{type(new).__name__}_{str(new)[:8]}"
    return replaced


ANY = (
    deleted,
    emptied,
    cut,
    replaced_by_a_folder,
    replaced_by_a_pipe,
    unreadable,
    *(one_byte(seed) for seed in range(3)),
)
"""Of every file."""
JSON = (
    *(another_type(value) for value in ("null", "[]", "{}", "7", '"text"', "[[1]]")),
    values("numbers", 10**400),
    values("numbers", 1e308),
    values("numbers", -1),
    values("numbers", float("nan")),
    values("numbers", "text"),
    values("texts", 3),
    values("texts", ""),
    values("lists", {}),
    values("lists", []),
)
"""Of those with JSON in them."""


def alterations(path):
    return (*ANY, *JSON) if path.suffix in (".json", ".jsonl") else ANY


def copy_of(folder, place):
    all_readable()
    shutil.rmtree(place, ignore_errors=True)
    return shutil.copytree(folder, place)
