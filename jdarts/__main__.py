"""``jdarts COMMAND ...``, also ``python -m jdarts COMMAND ...``."""

import sys

from jdarts.commands import COMMANDS, overview
from jdarts.entry import run_command, start
from jdarts.errors import unknown_choice
from jdarts.output import open_streams
from jdarts.version import version

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Runs the command that the first word names.

    Args:
      arguments: of the command line; not given: of this process.

    Returns:
      The exit status.
    """
    words = sys.argv[1:] if arguments is None else arguments
    first = words[0] if words else "--help"
    if first in COMMANDS:
        return start(first, words[1:])
    output = open_streams()
    return run_command(_answer, [first]) or output.close_quietly()


def _answer(words: list[str]) -> int:
    """What there is to say without a command; returns the exit status."""
    [first] = words
    if first in ("--help", "-h"):
        print(overview())
    elif first == "--version":
        print(f"jdarts {version()}")
    else:
        what = "option" if first.startswith("-") else "command"
        raise unknown_choice(what, first, [*COMMANDS, "--help", "--version"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
