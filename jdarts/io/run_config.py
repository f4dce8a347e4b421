"""The ``config.json`` of a run: written once, compared whenever the run goes on."""

import json
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

from jdarts.errors import UserError
from jdarts.io.files import is_temporary, read_json, write_json

__all__ = ["EXTENDED", "Extension", "free_folder", "settle_config"]

EXTENDED = "extended"
"""In ``config.json``: the rows of `Extension`."""

_SHOWN = 6  # differing fields named in full


class Extension(NamedTuple):
    """A run went on for more epochs than it was planned for.

    Attributes:
      epochs: that it was planned for.
      more: that it was then planned for.
      step: at which that was; 0: before its first checkpoint.
    """

    epochs: int
    more: int
    step: int

    def described(self, done: int) -> str:
        """What that means, in words, where `done` epochs were done or begun."""
        return (
            f"extended from {self.epochs} to {self.more} epochs after epoch {done}: up "
            f"to there every schedule (learning rates, drop path, ...) was that of "
            f"{self.epochs} epochs, from there on that of {self.more}; not the same as "
            f"{self.more} epochs from the start"
        )


def settle_config(
    path: Path,
    config: dict[str, Any],
    may_differ: Collection[str],
    extend: bool,
    renew: Callable[[dict[str, Any]], dict[str, Any]],
) -> dict[str, Any] | None:
    """Writes ``config.json``, or makes sure that it says the same; what it said if it
    was there. Adds to `config` how the run was extended. `renew` puts what an earlier
    version wrote as this one does."""
    file = path / "config.json"
    for name in os.listdir(path):
        if is_temporary(name):
            (path / name).unlink(missing_ok=True)
    stored = read_json(file) if file.exists() else None
    if stored is not None and not isinstance(stored, dict):
        raise UserError(f"{file}: not a configuration; expected a JSON object")
    if stored is None and extend:
        raise UserError(
            f"--extend: {path} holds no run yet; expected one to go on with"
        )
    if stored is not None:
        extensions, hint = _extensions(path, config, stored, extend)
        if extensions:
            config[EXTENDED] = extensions
            may_differ = (*may_differ, EXTENDED)
        free = (*may_differ, "epochs") if extend else may_differ
        _refuse_other(path, _differences(config, renew(stored), free), hint)
    if stored != config:
        write_json(file, config)
    return stored


def _extensions(
    path: Path, config: dict[str, Any], stored: dict[str, Any], extend: bool
) -> tuple[list[Any], str]:
    """What the configuration then says of extensions; what to say if it may not go on.

    Raises:
      UserError: for an extension that is none.
    """
    before = stored.get(EXTENDED, [])
    try:
        old, new, found = stored["epochs"], config["epochs"], [*map(list, before)]
        raised, done = new > old, bool(found) and found[-1][1] == new == old
        if not all(len(Extension(*row)) == 3 for row in found):
            raise TypeError
    except (KeyError, TypeError, IndexError):
        if extend or before:
            raise UserError(f"{path / 'config.json'}: its epochs are damaged") from None
        return [], ""
    if not extend:
        hint = f"--extend goes on with it to {new} epochs; or choose" if raised else ""
        return found, hint
    if not (raised or done):
        raise UserError(
            f"--extend: --epochs {new}, but {path} is a run of {old}; expected more"
        )
    if raised:
        found.append([old, new, _newest_step(path / "checkpoints")])
        if config.get("steps") is not None and config["steps"] <= found[-1][2]:
            raise UserError(
                f"--extend: --steps {config['steps']} ends the run where it is; "
                "expected --extend without --steps, or with more"
            )
    return found, ""


def _newest_step(checkpoints: Path) -> int:
    try:
        names = os.listdir(checkpoints)
    except OSError:
        return 0
    return max((int(name) for name in names if name.isdecimal()), default=0)


def _refuse_other(path: Path, differences: list[str], hint: str) -> None:
    if not differences:
        return
    if len(differences) > 1 or not hint:
        hint = "Choose"
    more = len(differences) - _SHOWN
    tail = f"; +{more} more" if more > 0 else ""
    raise UserError(
        f"{path}: made with another configuration: "
        + "; ".join(differences[:_SHOWN])
        + f"{tail}. {hint} another folder, as --run-dir {free_folder(path)}, or repeat "
        "the folder's settings"
    )


def free_folder(path: Path) -> Path:
    """A folder beside it that is not there yet."""
    place = path if path.name not in ("", "..") else path.resolve()
    number = 2
    while (free := place.parent / f"{place.name or 'run'}-{number}").exists():
        number += 1
    return free


def _differences(
    config: dict[str, Any], stored: dict[str, Any], may_differ: Collection[str]
) -> list[str]:
    """Each differing field in words, in the order of the configuration."""
    here, there = _flatten(config), _flatten(stored)
    free = tuple(f"{name}." for name in may_differ)
    return [
        f"{name}: {_shown(here, name)} here, {_shown(there, name)} in the folder"
        for name in {**here, **there}
        if _shown(here, name) != _shown(there, name) and not f"{name}.".startswith(free)
    ]


def _flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names to values; an empty part counts as a value."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict) and value:
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _shown(flat: dict[str, Any], name: str) -> str:
    if name not in flat:
        return "not set"
    value = flat[name]
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 1.0 and 1 are the same setting
    return json.dumps(value)
