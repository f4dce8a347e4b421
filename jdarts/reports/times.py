"""Where the time of a run went, from the rows of ``timing.jsonl``."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from jdarts.reports import html
from jdarts.reports.svg import Bar, Line, bars, line_chart, short

__all__ = ["Spent", "duration", "spent", "timing", "timing_facts"]

# What the parts of a row are called; others keep their own names.
_WORDS = {
    "data": "loading the data",
    "kernels": "building CPU kernels",
    "init": "initial weights",
    "steps": "steps",
    "evaluation": "evaluation",
    "record": "writing metrics",
    "checkpoint": "writing checkpoints",
}


class Spent(NamedTuple):
    """Seconds by part.

    Attributes:
      parts: ``(name, seconds)`` in the order of a run.
      steps: steps counted.
      compiling: seconds of tracing, lowering and compiling together.
      step_seconds: mean seconds a step; None before the first.
    """

    parts: list[tuple[str, float]]
    steps: int
    compiling: float
    step_seconds: float | None

    @property
    def total(self) -> float:
        """Seconds in all."""
        return sum(seconds for _, seconds in self.parts)


def spent(rows: Sequence[dict[str, Any]]) -> Spent:
    """Adds up the rows of ``timing.jsonl``."""
    parts: dict[str, float] = {}

    def add(name: str, seconds: float) -> None:
        parts[name] = parts.get(name, 0.0) + seconds

    compiling = 0.0
    for row in rows:
        if row["kind"] == "compile":
            lowering, program = row["lower_seconds"], row["program"]
            if row.get("kernels_seconds"):
                add(_WORDS["kernels"], row["kernels_seconds"])
            add(f"{program}: trace", row["trace_seconds"] - lowering)
            add(f"{program}: lower", lowering)
            add(f"{program}: compile", row["compile_seconds"])
            compiling += row["trace_seconds"] + row["compile_seconds"]
        else:
            for name, seconds in row.items():
                part = name.removesuffix("_seconds")
                if part != name:
                    add(_WORDS.get(part, part), seconds)
    steps = sum(row.get("steps", 0) for row in rows)
    stepping = parts.get(_WORDS["steps"])
    each = stepping / steps if steps and stepping is not None else None
    return Spent(list(parts.items()), steps, compiling, each)


def timing_facts(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Time a step, of compiling and in all, as `html.facts` takes them.

    Args:
      rows: of ``timing.jsonl``, also none.
    """
    found, entries = spent(rows), []
    if not found.total:
        return []
    if found.step_seconds is not None:
        milliseconds = f"{1e3 * found.step_seconds:.3g} ms"
        whole = duration(found.step_seconds)
        entries.append(
            ("A step", milliseconds if found.step_seconds < 1 else whole, "")
        )
    entries.append(("Compiling", duration(found.compiling), "with tracing"))
    entries.append(("In all", duration(found.total), ""))
    return entries


def timing(rows: Sequence[dict[str, Any]]) -> Markup:
    """A bar of all parts, a table, and the time a step over the run.

    Args:
      rows: of ``timing.jsonl``; nothing if they have no seconds.
    """
    found = spent(rows)
    if not found.total:
        return Markup("")
    styles = {name: f"f{i % 12}" for i, (name, _) in enumerate(found.parts)}
    shares = [
        (
            html.key(styles[name], name),
            f"{seconds:.2f}",
            f"{100 * seconds / found.total:.1f}",
        )
        for name, seconds in found.parts
    ]
    biggest = max(found.parts, key=lambda part: part[1])[0]
    bar = html.figure(
        f"{duration(found.total)} in all.",
        "What a process does before it loads the data "
        "and what was lost to kills is not in it.",
        bars(
            [Bar(n, seconds, styles[n]) for n, seconds in found.parts],
            title="Where the time went",
            description=f"{duration(found.total)} in all, most of it {biggest}; the "
            "table has the figures.",
        ),
        html.table(
            "Where the time went",
            ["Part", "Seconds", "Share in %"],
            [*shares, ("All", f"{found.total:.2f}", "100.0")],
        ),
        style="wide",
    )
    return bar + html.grid([_step_chart(rows), _programs(rows)])


def _step_chart(rows: Sequence[dict[str, Any]]) -> Markup:
    points = [
        (row["epoch"], 1e3 * row["steps_seconds"] / row["steps"])
        for row in rows
        if row["kind"] == "part" and row["steps"] and "steps_seconds" in row
    ]
    if not points:
        return Markup("")
    return html.figure(
        "Time a step.",
        "Mean between two checkpoints.",
        line_chart(
            [Line("step", points, "s0")],
            title="Time a step over the epochs",
            description=f"From {short(points[0][1])} ms to {short(points[-1][1])} ms.",
            x_label="epoch",
            y_label="ms",
            y_range=(0.0, 0.0),
        ),
    )


def _programs(rows: Sequence[dict[str, Any]]) -> Markup:
    """Each program's compilation; again for each process that went on with the run."""
    made = [row for row in rows if row["kind"] == "compile"]
    if not made:
        return Markup("")
    return html.figure(
        "Compiling.",
        "Once a process that began or continued the run; compiled programs "
        "are kept in a cache.",
        html.table(
            "Compiling",
            ["Program", "From step", "Trace", "Lower", "Compile", "Memory"],
            [
                (
                    row["program"],
                    str(row["step"]),
                    f"{row['trace_seconds'] - row['lower_seconds']:.1f} s",
                    f"{row['lower_seconds']:.1f} s",
                    f"{row['compile_seconds']:.1f} s",
                    _mebibytes(row["temp_bytes"]),
                )
                for row in made
            ],
        ),
    )


def _mebibytes(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 2**20:.0f} MiB"


def duration(seconds: float) -> str:
    """``0.21 s``, ``41 s``, ``3 min 5 s``, ``2 h 12 min``."""
    if seconds < 10:
        return f"{short(float(f'{seconds:.2g}'))} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
