"""The configuration, and how to run it again."""

from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from jdarts.reports import html

__all__ = ["configuration", "reproduce"]


def configuration(
    config: dict[str, Any], defaults: dict[str, Any] | None = None
) -> Markup:
    """A table of every field; those that differ from the default stand in front.

    Args:
      config: as in ``config.json``.
      defaults: the same with every default; None: there are none.
    """
    if defaults is None:
        shown = [(name, _shown(value)) for name, value in _flat(config)]
        return html.table("Configuration", ["Field", "Value"], shown, words=2)
    usual = dict(_flat(defaults))
    rows = [
        (name, _shown(value), "" if usual.get(name) == value else _default(usual, name))
        for name, value in _flat(config)
    ]
    changed = [row for row in rows if row[2]]
    return html.table(
        f"{len(changed)} fields that differ from their defaults",
        ["Field", "Value", "Default"],
        changed,
        words=3,
    ) + html.details(
        f"All {len(rows)} fields",
        html.table("Configuration", ["Field", "Value", "Default"], rows, words=3),
    )


def reproduce(command: str, timing: Sequence[dict[str, Any]]) -> Markup:
    """The command and what it was run with.

    Args:
      command: for the shell.
      timing: rows of ``timing.jsonl``.
    """
    parts = [
        html.code(command),
        html.paragraph(
            "In a folder of its own: add --run-dir DIR. On the same machine, with the "
            "same versions and devices, it repeats itself bit for bit."
        ),
    ]
    starts = [row for row in timing if row["kind"] == "start"]
    if starts:
        parts.append(
            html.table(
                "What it ran on",
                ["From step", "jdarts", "jax", "Platform", "Device", "Devices"],
                [
                    (
                        str(row["step"]),
                        row["jdarts"],
                        row["jax"],
                        row["platform"],
                        row["device"],
                        str(row["devices"]),
                    )
                    for row in starts
                ],
                words=5,
            )
        )
    return html.join(parts)


def _flat(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _default(usual: dict[str, Any], name: str) -> str:
    return _shown(usual[name]) if name in usual else "none"
