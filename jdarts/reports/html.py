"""The few kinds of block that a report is made of."""

from collections.abc import Iterable, Sequence
from html import escape

__all__ = [
    "details",
    "facts",
    "figure",
    "grid",
    "legend",
    "paragraph",
    "scroll",
    "table",
]


def paragraph(text: str, style: str = "") -> str:
    """A paragraph of plain text."""
    return f"<p{_class(style)}>{escape(text)}</p>"


def figure(title: str, text: str, *content: str, style: str = "") -> str:
    """A figure under its caption.

    Args:
      title: the caption's first words, set off.
      text: the rest of the caption; may be empty.
      *content: HTML.
      style: classes.
    """
    caption = f"<strong>{escape(title)}</strong> {escape(text)}".strip()
    return (
        f"<figure{_class(style)}><figcaption>{caption}</figcaption>"
        f"{''.join(content)}</figure>"
    )


def grid(parts: Iterable[str], style: str = "") -> str:
    """Blocks side by side, as many as fit."""
    return f'<div class="grid {style}">{"".join(parts)}</div>'


def legend(entries: Iterable[tuple[str, str, str]]) -> str:
    """What the lines are.

    Args:
      entries: ``(name, value, style)`` of each line; the value may be empty.
    """
    items = [
        '<li><svg class="swatch" aria-hidden="true" width="22" height="10" '
        f'viewBox="0 0 22 10"><path class="line {style}" d="M1 5H21"/></svg>'
        f"{escape(name)}{f' <b>{escape(value)}</b>' if value else ''}</li>"
        for name, value, style in entries
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def facts(entries: Iterable[tuple[str, str, str]]) -> str:
    """Large figures with their names.

    Args:
      entries: ``(name, value, note)``; the note may be empty.
    """
    entries = list(entries)
    if not entries:
        return ""
    items = [
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}"
        f"{f'<small>{escape(note)}</small>' if note else ''}</dd></div>"
        for name, value, note in entries
    ]
    return f'<dl class="facts">{"".join(items)}</dl>'


def table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    words: int = 1,
    raw_first: bool = False,
) -> str:
    """A table with headers for its columns and rows; it scrolls if it is too wide.

    Args:
      caption: what it shows, plain text.
      head: names of the columns.
      rows: plain text; the first entry is the row's header.
      words: that many columns from the left hold words, the others numbers.
      raw_first: the first entries are HTML.
    """
    kinds = ["" if i < words else ' class="n"' for i in range(len(head))]
    top = "".join(
        f'<th scope="col"{kind}>{escape(name)}</th>'
        for name, kind in zip(head, kinds, strict=True)
    )
    lines = []
    for first, *others in rows:
        cells = "".join(
            f"<td{kind}>{escape(cell)}</td>"
            for cell, kind in zip(others, kinds[1:], strict=True)
        )
        name = first if raw_first else escape(first)
        lines.append(f'<tr><th scope="row">{name}</th>{cells}</tr>')
    return scroll(
        caption,
        f"<table><caption><span>{escape(caption)}</span></caption><thead><tr>{top}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table>",
    )


def scroll(name: str, content: str, style: str = "") -> str:
    """A block that scrolls by itself where it is wider than the page.

    Args:
      name: what it is, read out.
      content: HTML.
      style: classes.
    """
    return (
        f'<div class="scroll {style}" tabindex="0" role="region" '
        f'aria-label="{escape(name)}">{content}</div>'
    )


def details(summary: str, *content: str, opened: bool = False) -> str:
    """A block that opens on demand, and is open on paper."""
    return (
        f"<details{' open' if opened else ''}><summary>{escape(summary)}</summary>"
        f"{''.join(content)}</details>"
    )


def _class(style: str) -> str:
    return f' class="{style}"' if style else ""
