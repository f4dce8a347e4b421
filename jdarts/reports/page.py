"""One self-contained HTML page: no script, nothing that is fetched."""

import importlib.resources
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

__all__ = ["Section", "page"]


class Section(NamedTuple):
    """A part of the page.

    Attributes:
      name: its anchor: a word.
      title: its heading.
      body: HTML.
    """

    name: str
    title: str
    body: str


def page(
    *,
    kind: str,
    title: str,
    lead: str,
    top: str,
    sections: Sequence[Section],
    missing: Sequence[str],
) -> str:
    """The text of the file.

    Args:
      kind: what is reported: "search".
      title: the run's name.
      lead: the result in a sentence, plain text.
      top: HTML below it.
      sections: what there is.
      missing: a sentence for everything that is not there (yet).
    """
    style = importlib.resources.files("jdarts.reports") / "report.css"
    links = "".join(
        f'<li><a href="#{section.name}">{escape(section.title)}</a></li>'
        for section in sections
    )
    gaps = "".join(f"<li>{escape(sentence)}</li>" for sentence in missing)
    if gaps:
        gaps = f"<aside><h2>Not in this report</h2><ul>{gaps}</ul></aside>"
    body = "".join(
        f'<section id="{section.name}" aria-labelledby="{section.name}-title">'
        f'<h2 id="{section.name}-title">{escape(section.title)}</h2>'
        f"{section.body}</section>\n"
        for section in sections
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}: jdarts {escape(kind)} report</title>
<link rel="icon" href="data:,">
<style>
{style.read_text()}</style>
</head>
<body>
<header>
<p class="kind">jdarts {escape(kind)} report</p>
<h1>{escape(title)}</h1>
<p class="lead">{escape(lead)}</p>
{top}
{gaps}
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{body}</main>
</body>
</html>
"""
