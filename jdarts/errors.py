"""The exceptions that commands print in one line, and the nearest valid choice."""

import difflib
from collections.abc import Iterable

__all__ = ["RunError", "UserError", "unknown_choice"]


class UserError(Exception):
    """Something the user can mend: one line that names the file or field, what was
    found, what was expected and, where there is one, the nearest valid choice.

    Commands print it as ``error: ...`` and leave with exit status 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class RunError(Exception):
    """A run that cannot go on although it was started rightly (a loss that is not
    finite): commands print it as ``error: ...`` and leave with exit status 1.
    """


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
    close = difflib.get_close_matches(found, names, n=1, cutoff=0.4)
    hint = f"did you mean '{close[0]}'? " if close else ""
    rest = all_of_them or f"choices: {', '.join(names)}"
    return UserError(f"{what}: unknown '{found}'; {hint}{rest}")
