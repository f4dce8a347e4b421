"""Names for runs that are shown together: their methods, and in what they differ."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jdarts.accuracy_table import DEFAULT_DATA
from jdarts.config import to_json
from jdarts.data import get_dataset
from jdarts.errors import UserError
from jdarts.io.data_facts import DataFacts
from jdarts.reports.run import SearchRun, TrainRun
from jdarts.train_config import recipe_to_json

__all__ = [
    "check_alike",
    "check_distinct",
    "check_images",
    "check_recipes",
    "digest_of",
    "labels",
    "settings",
]

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
    flat = settings(runs)
    found = []
    for own in flat:
        like = [other for other in flat if other["method.name"] == own["method.name"]]
        differing = [n for n in own if any(o.get(n) != own[n] for o in like)]
        parts = [f"{name}={own[name]}" for name in differing]
        found.append(", ".join([str(own["method.name"]), *parts]))
    return found


def settings(runs: Sequence[SearchRun]) -> list[dict[str, Any]]:
    """One a run: its configuration by dotted names, without what is not part of the
    search. Where all runs wrote down which images they had, ``data.images`` tells them
    apart."""
    found = [_settled(_telling(to_json(run.config))) for run in runs]
    digests = [digest_of(run.path) for run in runs]
    if None not in digests:
        for own, digest in zip(found, digests, strict=True):
            own["data.images"] = digest
    return found


def digest_of(run: Path) -> str | None:
    """The first digits of the digest of a run's images; None where it has none."""
    facts = DataFacts.read(run)
    return None if facts is None or facts.digest is None else facts.digest[:12]


def _settled(config: dict[str, Any]) -> dict[str, Any]:
    """With the defaults that depend on other values."""
    if config.get("table_data", "") is None:
        config["table_data"] = DEFAULT_DATA
    if config.get("data.split", "") is None:
        config["data.split"] = get_dataset(config["data.name"]).split
    return config


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
    _check_same(_by_path(runs, settings(runs)), fields, "runs with the same one")


def check_images(runs: Sequence[SearchRun]) -> None:
    """Raises a UserError unless all runs are on the same images, as far as they tell.

    That damaged files are skipped makes no difference where there are none.
    """
    fields = [f"data.{name}" for name in ("name", "classes", "limit", "resize")]
    found = settings(runs)
    if found[0].get("data.limit") is not None:  # the split says which ones are kept
        fields.append("data.split")
    expected = "runs on the same images"
    _check_same(_by_path(runs, found), [*fields, "data.images"], expected)


def check_recipes(trainings: Sequence[TrainRun]) -> None:
    """Raises a UserError unless all networks were trained by one recipe, on the same
    images as far as they tell."""
    flat = [_telling(recipe_to_json(run.config)) for run in trainings]
    found = _by_path(trainings, flat)
    names = dict.fromkeys(name for own in flat for name in own)
    _check_same(found, list(names), "trainings by one recipe")
    digests = [{"data.images": digest_of(run.path)} for run in trainings]
    if all(own["data.images"] for own in digests):
        expected = "trainings on the same images"
        _check_same(_by_path(trainings, digests), ["data.images"], expected)


def _by_path(
    runs: Sequence[SearchRun | TrainRun], found: Sequence[dict[str, Any]]
) -> list[tuple[Path, dict[str, Any]]]:
    return [(run.path, own) for run, own in zip(runs, found, strict=True)]


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
