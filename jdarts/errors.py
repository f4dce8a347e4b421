"""The exceptions that commands print in one line, and the nearest valid choice."""

import difflib
import re
from collections.abc import Iterable, Sequence

from jdarts.synonyms import ADVICE, FLAGS, VALUES, fold

__all__ = [
    "RunError",
    "UserError",
    "hint",
    "nearest",
    "printable",
    "same_name",
    "some",
    "unknown_choice",
    "unknown_option",
]


class UserError(Exception):
    """Something the user can mend: one line that names the file or field, what was
    found, what was expected and, where there is one, the nearest valid choice.

    Commands print it as ``error: ...`` and leave with exit status 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(" ".join(message.split())))


class RunError(Exception):
    """A run that cannot go on although it was started rightly (a loss that is not
    finite): commands print it as ``error: ...`` and leave with exit status 1.
    """


def printable(text: str) -> str:
    """The text with what a terminal would obey (new lines, colours) as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def some(names: Sequence[str], shown: int = 5) -> str:
    """The first ones of many names, printable, and how many more there are."""
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return printable(", ".join(names[:shown])) + more


def unknown_choice(
    what: str, found: str, choices: Iterable[str], all_of_them: str | None = None
) -> UserError:
    """The error for a name that is in no table.

    Args:
      what: the field or kind, as the user knows it ("data set", "--method").
      found: what the user wrote.
      choices: the valid names.
      all_of_them: where to find the valid names, if they are too many to list.

    Returns:
      The error to raise; it names the nearest valid choice and lists all of them.
    """
    names = sorted(choices)
    rest = all_of_them or f"choices: {', '.join(names)}"
    return UserError(f"{what}: unknown '{found}'; {hint(nearest(found, names))}{rest}")


def hint(names: Sequence[str]) -> str:
    """The question whether one of these was meant; empty without any."""
    quoted = [f"'{name}'" for name in names]
    return f"did you mean {' or '.join(quoted)}? " if quoted else ""


def nearest(found: str, names: Sequence[str]) -> list[str]:
    """What a name that is in no table may mean: by spelling, or as others call it."""
    if same := same_name(found, names):
        return [same]
    folded = {fold(name): name for name in names}
    close = difflib.get_close_matches(fold(found), folded, n=1, cutoff=0.5)
    return [folded[name] for name in close]


def same_name(found: str, names: Iterable[str]) -> str | None:
    """The name in another spelling, or the one for what others call so."""
    folded = {fold(name): name for name in names}
    called = VALUES.get(fold(found), "").split()
    return folded.get(fold(found)) or next((n for n in called if n in names), None)


def unknown_option(found: str, known: Iterable[str]) -> UserError:
    """The error for an option that a command does not have.

    Args:
      found: the option as the user wrote it, without its value.
      known: those that there are, ``--part.name``.

    Returns:
      The error to raise. It names, in this order, the same in another spelling, what
      takes the place of an option of other programs, the options of that name in any
      part, or the one of the nearest spelling.
    """
    flags = sorted(known)
    own, last = fold(found.lstrip("-")), _end(found)
    meant = [flag for flag in flags if fold(flag.lstrip("-")) == own]
    if not meant and "." in found:
        meant = [flag for flag in flags if fold(flag).endswith(own)]
    if not meant:
        meant = _elsewhere(own, flags) + [f for f in flags if _end(f) == last]
    if not meant and own in ADVICE:
        return UserError(f"option: unknown '{found}'; {ADVICE[own]}")
    if not meant:
        near = difflib.get_close_matches(own, _spellings(flags), n=3, cutoff=0.6)
        near += difflib.get_close_matches(last, map(_end, flags), n=1, cutoff=0.6)
        for name in near:
            meant = meant or [f for f in flags if fold(f.lstrip("-")) == name]
            meant = meant or _elsewhere(name, flags)
            meant = meant or [f for f in flags if _end(f) == name]
    suggestion = hint(list(dict.fromkeys(meant))[:4])
    return UserError(f"option: unknown '{found}'; {suggestion}see --help for all")


def _end(flag: str) -> str:
    """The last part of an option: lr of ``--method.weights.lr``."""
    return fold(flag.lstrip("-").rsplit(".", 1)[-1])


def _elsewhere(name: str, flags: Sequence[str]) -> list[str]:
    """Our options for one of another program, of those that there are."""
    listed = re.findall(r"--[^ ]+(?: [^- ][^ ]*)?", FLAGS.get(name, ""))
    return [option for option in listed if option.split()[0] in flags]


def _spellings(flags: Sequence[str]) -> list[str]:
    return [*(fold(flag.lstrip("-")) for flag in flags), *FLAGS]
