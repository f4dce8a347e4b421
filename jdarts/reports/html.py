"""The few kinds of block that a report is made of, from ``blocks.html``.

A block is `Markup`; a ``str`` that enters one is escaped.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

__all__ = [
    "TEMPLATES",
    "code",
    "details",
    "facts",
    "figure",
    "grid",
    "heading",
    "join",
    "key",
    "key_of_lines",
    "legend",
    "link",
    "paragraph",
    "scale",
    "scroll",
    "table",
]

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
"""Templates of this folder; they escape what enters them."""
_BLOCKS: Any = TEMPLATES.get_template("blocks.html").module


def join(parts: Iterable[str]) -> Markup:
    """Blocks below each other."""
    return Markup("").join(parts)


def heading(text: str) -> Markup:
    """The heading of a part of a section."""
    return _BLOCKS.heading(text)


def paragraph(text: str, style: str = "") -> Markup:
    """A paragraph.

    Args:
      text: what it says.
      style: classes.
    """
    return _BLOCKS.paragraph(text, style)


def figure(title: str, text: str, *content: str, style: str = "") -> Markup:
    """A figure under its caption.

    Args:
      title: the caption's first words, set off.
      text: the rest of the caption; may be empty.
      *content: blocks.
      style: classes.
    """
    return _BLOCKS.figure(title, text, join(content), style)


def grid(parts: Iterable[str], style: str = "") -> Markup:
    """Blocks side by side, as many as fit."""
    return _BLOCKS.grid(list(parts), style)


def legend(entries: Iterable[tuple[str, str, str]]) -> Markup:
    """What the lines are.

    Args:
      entries: ``(name, value, style)`` of each line; the value may be empty.
    """
    return _BLOCKS.legend(list(entries))


def key_of_lines(entries: Iterable[tuple[str, Markup]]) -> Markup:
    """What the lines of a drawing are.

    Args:
      entries: ``(name, path)``, the path in a box of 22 x 10.
    """
    return _BLOCKS.key_of_lines(list(entries))


def facts(entries: Iterable[tuple[str, str, str]]) -> Markup:
    """Large figures with their names.

    Args:
      entries: ``(name, value, note)``; the note may be empty.
    """
    return _BLOCKS.facts(list(entries))


def table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1
) -> Markup:
    """A table with headers for its columns and rows; it scrolls if it is too wide.

    Args:
      caption: what it shows.
      head: names of the columns.
      rows: an entry a column; the first one is the row's header.
      words: that many columns from the left hold words, the others numbers.
    """
    return _BLOCKS.table(caption, head, list(rows), words)


def scroll(name: str, content: str, style: str = "") -> Markup:
    """A block that scrolls by itself where it is wider than the page.

    Args:
      name: what it is, read out.
      content: a block.
      style: classes.
    """
    return _BLOCKS.scroll(name, content, style)


def details(summary: str, *content: str, opened: bool = False) -> Markup:
    """A block that opens on demand, and is open on paper."""
    return _BLOCKS.details(summary, join(content), opened)


def code(text: str) -> Markup:
    """A command, as it is typed."""
    return _BLOCKS.code(text)


def link(anchor: str, text: str) -> Markup:
    """Leads to the section of that name."""
    return _BLOCKS.link(anchor, text)


def key(style: str, text: str) -> Markup:
    """A name with the colour that it has in a bar."""
    return _BLOCKS.key(style, text)


def scale(low: str, high: str, mark: str) -> Markup:
    """What the shades of heat maps, and their marks, mean."""
    return _BLOCKS.scale(low, high, mark)
