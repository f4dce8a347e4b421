"""One self-contained HTML page: no script, nothing that is fetched."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from jdarts.io import CELL_STYLE, legible
from jdarts.reports.html import TEMPLATES

__all__ = ["Section", "page"]


class Section(NamedTuple):
    """A part of the page.

    Attributes:
      name: its anchor: a word.
      title: its heading.
      body: blocks.
    """

    name: str
    title: str
    body: Markup


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
      lead: the result in a sentence.
      top: blocks below it; may be empty.
      sections: what there is.
      missing: a sentence for everything that is not there (yet).
    """
    style = (Path(__file__).parent / "report.css").read_text()
    text = TEMPLATES.get_template("page.html").render(
        policy=_policy([style, CELL_STYLE]),
        style=Markup(style),  # noqa: S704  a file of this folder
        kind=kind,
        title=title,
        lead=lead,
        top=top,
        sections=sections,
        missing=missing,
    )
    return legible(text) + "\n"


def _policy(styles: Sequence[str]) -> str:
    """Of the content: a browser runs no script, fetches nothing, and takes no other
    style sheet than these."""
    digests = (hashlib.sha256(style.encode()).digest() for style in styles)
    known = (f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; style-src {' '.join(known)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
