"""What may not change under a run that goes on: digests of what options name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from jdarts.errors import UserError

__all__ = ["check_pinned", "moved", "pinned_data"]


class _Digested(Protocol):
    @property
    def digest(self) -> str: ...


def pinned_data(given: Path | None, data: _Digested) -> dict[str, str]:
    """Option to digest: of the images or the text, if files of the user's were read.

    Args:
      given: ``--data.dir``.
      data: what was loaded.
    """
    return {} if given is None else {"--data.dir": data.digest}


def check_pinned(
    before: Mapping[str, str], now: Mapping[str, str], run: Path, expected: str
) -> None:
    """Raises a UserError if an option names other contents than when a run was begun.

    Args:
      before: option to digest, as a checkpoint has it; what it lacks is not compared.
      now: the same, of this command.
      run: the folder of the run.
      expected: what the user can do, for the error.
    """
    for option, digest in now.items():
        if before.get(option, digest) != digest:
            raise UserError(
                f"{option}: its contents have changed since {run} was begun; expected "
                f"{expected}"
            )


def moved(before: str | None, now: str) -> str | None:
    """One line if a run goes on on other devices; None if not, or if that is unknown.

    Args:
      before: the devices that its checkpoint was computed on, in words; None: unknown.
      now: those of this process.
    """
    if before in (None, now):
        return None
    return (
        f"until here on {before}, from here on {now}: sums are in another order, so "
        "that numbers are no longer those of an unbroken run, bit for bit"
    )
