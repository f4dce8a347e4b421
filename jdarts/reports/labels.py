"""Names for runs that are shown together: their methods, and in what they differ."""

from collections.abc import Sequence
from typing import Any

from jdarts.accuracy_table import DEFAULT_DATA
from jdarts.config import to_json
from jdarts.errors import UserError
from jdarts.reports.run import SearchRun

__all__ = ["check_alike", "check_distinct", "labels", "settings"]

# What changes nothing of what is searched, or is a seed's own.
_LEFT_OUT = {
    "name",
    "seed",
    "seeds",
    "log_every",
    "checkpoint_minutes",
    "table",
    "data.dir",
    "hardware.latency_table",
}


def labels(runs: Sequence[SearchRun]) -> list[str]:
    """One a run: its method and, where others have the same one, in what they differ.

    Runs that differ in their seeds alone get the same label.
    """
    flat = [settings(run) for run in runs]
    found = []
    for own in flat:
        like = [other for other in flat if other["method.name"] == own["method.name"]]
        differing = [n for n in own if any(o.get(n) != own[n] for o in like)]
        parts = [f"{name}={own[name]}" for name in differing]
        found.append(", ".join([str(own["method.name"]), *parts]))
    return found


def settings(run: SearchRun) -> dict[str, Any]:
    """The configuration by dotted names, without what is not part of the search."""
    found = dict(_flat(to_json(run.config)))
    if found.get("table_data", "") is None:
        found["table_data"] = DEFAULT_DATA
    return {name: value for name, value in found.items() if name not in _LEFT_OUT}


def _flat(data: dict[str, Any], prefix: str = ""):
    for name, value in data.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def check_alike(runs: Sequence[SearchRun], fields: Sequence[str]) -> None:
    """Raises a UserError unless all runs have the same values of these settings."""
    first = settings(runs[0])
    for run in runs[1:]:
        own = settings(run)
        for name in fields:
            if own.get(name) != first.get(name):
                raise UserError(
                    f"{run.path}: {name} {own.get(name)}, but {runs[0].path} has "
                    f"{first.get(name)}; expected runs with the same one"
                )


def check_distinct(runs: Sequence[SearchRun]) -> None:
    """Raises a UserError if a folder is given twice."""
    seen = set()
    for run in runs:
        if run.path.resolve() in seen:
            raise UserError(f"{run.path}: given twice; expected each run once")
        seen.add(run.path.resolve())
