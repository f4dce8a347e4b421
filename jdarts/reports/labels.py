"""Names for runs that are shown together: their methods, and in what they differ."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jdarts.accuracy_table import DEFAULT_DATA
from jdarts.config import to_json
from jdarts.errors import UserError
from jdarts.reports.run import SearchRun, TrainRun
from jdarts.train_config import recipe_to_json

__all__ = ["check_alike", "check_distinct", "check_recipes", "labels", "settings"]

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
    found = _telling(to_json(run.config))
    if found.get("table_data", "") is None:
        found["table_data"] = DEFAULT_DATA
    return found


def _telling(config: dict[str, Any]) -> dict[str, Any]:
    """By dotted names, without what is left out."""
    return {name: v for name, v in _flat(config) if name not in _LEFT_OUT}


def _flat(data: dict[str, Any], prefix: str = ""):
    for name, value in data.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def check_alike(runs: Sequence[SearchRun], fields: Sequence[str]) -> None:
    """Raises a UserError unless all runs have the same values of these settings."""
    found = [(run.path, settings(run)) for run in runs]
    _check_same(found, fields, "runs with the same one")


def check_recipes(trainings: Sequence[TrainRun]) -> None:
    """Raises a UserError unless all networks were trained by one recipe."""
    found = [(run.path, _telling(recipe_to_json(run.config))) for run in trainings]
    names = dict.fromkeys(name for _, own in found for name in own)
    _check_same(found, list(names), "trainings by one recipe")


def _check_same(
    found: Sequence[tuple[Path, dict[str, Any]]], fields: Sequence[str], expected: str
) -> None:
    path, first = found[0]
    for other, own in found[1:]:
        for name in fields:
            if own.get(name) != first.get(name):
                raise UserError(
                    f"{other}: {name} {own.get(name)}, but {path} has "
                    f"{first.get(name)}; expected {expected}"
                )


def check_distinct(runs: Sequence[SearchRun]) -> None:
    """Raises a UserError if a folder is given twice."""
    seen = set()
    for run in runs:
        if run.path.resolve() in seen:
            raise UserError(f"{run.path}: given twice; expected each run once")
        seen.add(run.path.resolve())
