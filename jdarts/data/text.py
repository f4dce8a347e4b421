"""Texts as numbers: one row a source in TEXTS; vocabularies; segments for a network."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from jdarts.data import text_files
from jdarts.data.base import digest
from jdarts.data.text_files import Parts
from jdarts.errors import UserError, unknown_choice
from jdarts.phase import phased

__all__ = ["TEXTS", "Text", "TextConfig", "TextSource", "load_text"]

UNKNOWN = "<unk>"
_LEVELS = ("word", "character")
_TREATMENTS = ("map", "refuse")


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Which text to load, and how to divide it into tokens."""

    name: str = "topics"
    """Text: a row of the TEXTS table: ptb, wikitext2, file, or topics (English text
    that comes with Python)."""
    dir: Path | None = None
    """Folder, zip or file of the text; every text but topics needs it."""
    level: str = "word"
    """What a token is: word (set apart by white space; a line ends with <eos>) or
    character."""
    vocabulary: int | None = None
    """Keep only this many tokens, the most frequent ones of the training part; the
    others become <unk>, which is one of them. >= 2; not given: all."""
    unknown: str = "map"
    """What to do with tokens of the validation and test part that the vocabulary does
    not have: map them to <unk>, or refuse the text."""
    limit: int | None = None
    """Use only the first this many tokens of the training part; not given: all."""

    def __post_init__(self) -> None:
        """Checks each value.

        Raises:
          UserError: it names the field as on the command line.
        """
        if self.name not in TEXTS:
            raise unknown_choice("--data.name", self.name, TEXTS)
        for field, choices in (("level", _LEVELS), ("unknown", _TREATMENTS)):
            if getattr(self, field) not in choices:
                raise unknown_choice(f"--data.{field}", getattr(self, field), choices)
        for field, least in (("vocabulary", 2), ("limit", 2)):
            value = getattr(self, field)
            if value is not None and value < least:
                raise UserError(
                    f"--data.{field}: {value}; expected a whole number >= {least}"
                )


@dataclasses.dataclass(frozen=True, eq=False)
class Text:
    """A checked text in host memory.

    Attributes:
      name: as configured.
      source: the configured folder or file, or the name.
      level: what a token is, as configured.
      vocabulary: the tokens, in the order of their numbers; at least two.
      train: the training part, numbers of tokens.
      valid: the validation part.
      test: the test part.
      notes: what was left out or replaced, in words.
    """

    name: str
    source: str
    level: str
    vocabulary: tuple[str, ...]
    train: Int32[np.ndarray, " train"]
    valid: Int32[np.ndarray, " valid"]
    test: Int32[np.ndarray, " test"]
    notes: tuple[str, ...] = ()

    @property
    def described(self) -> str:
        """What was read, in one line."""
        of = "" if self.source == self.name else f" of {self.source}"
        tokens = [repr(t)[1:-1] for t in self.vocabulary[:6]]
        more = len(self.vocabulary) - len(tokens)
        return "; ".join(
            [
                f"text '{self.name}'{of}: {len(self.train):,} training, "
                f"{len(self.valid):,} validation and {len(self.test):,} test "
                f"{self.level}s, {len(self.vocabulary):,} different ones "
                f"({' '.join(tokens)}" + (f" and {more:,} more)" if more else ")"),
                *self.notes,
            ]
        )

    @property
    def parts(self) -> dict[str, np.ndarray]:
        """The three parts by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of all of it."""
        return digest(self.vocabulary, *self.parts.values())


class TextSource(NamedTuple):
    """A row of the TEXTS table.

    Attributes:
      load: from the configured path to the three parts' text; raises UserError naming
        the file.
      description: one line for the README.
      dir: how ``--data.dir`` has to look; empty if the text needs none.
      closed: whether the vocabulary is that of all three parts, as published; otherwise
        it is that of the training part.
      own: whether it is a text of one's own, which runs are named after.
    """

    load: Callable[[Path | None], Parts]
    description: str
    dir: str = ""
    closed: bool = False
    own: bool = False


TEXTS: dict[str, TextSource] = {
    "topics": TextSource(
        load=text_files.topics,
        description="the reference of Python in English, 0.7 million characters",
    ),
    "ptb": TextSource(
        load=text_files.ptb,
        description="Penn Treebank, 0.93 million words, 10,000 different ones",
        dir="a folder or zip with ptb.train.txt, ptb.valid.txt and ptb.test.txt, or "
        "train.txt, valid.txt and test.txt",
        closed=True,
    ),
    "wikitext2": TextSource(
        load=text_files.wikitext2,
        description="WikiText-2, 2.1 million words, 33,278 different ones",
        dir="a folder or zip with wiki.train.tokens, wiki.valid.tokens and "
        "wiki.test.tokens, or train.txt, valid.txt and test.txt",
        closed=True,
    ),
    "file": TextSource(
        load=text_files.one_file,
        description="any UTF-8 text: the first 90 % to train, 5 % each to validate and "
        "to test",
        dir="a UTF-8 text file",
        own=True,
    ),
}


@phased("reading the data")
def load_text(config: TextConfig) -> Text:
    """Reads the configured text and numbers its tokens.

    Numbers go by first appearance, in the order train, validation, test, as in the
    original programs; with ``config.vocabulary`` by first appearance among those kept.

    Raises:
      UserError: if files are missing, empty or not UTF-8, the vocabulary has only one
        token, or a part has tokens that are unknown and to be refused.
    """
    source = TEXTS[config.name]
    _check_dir(config, source)
    where = str(config.dir or config.name)
    tokens = {
        part: _tokens(text, config.level)
        for part, text in source.load(config.dir)._asdict().items()
    }
    for part, found in tokens.items():
        if not found:
            raise UserError(f"{where}: the {part} part is empty; expected some text")
    whole = len(tokens["train"])
    tokens["train"] = _limited(tokens["train"], config, where)
    vocabulary = _vocabulary(config, source.closed, tokens)
    if len(vocabulary) < 2:
        raise UserError(
            f"{where}: the vocabulary is the {config.level} '{next(iter(vocabulary))}' "
            "alone; expected at least two different ones"
        )
    parts = {
        part: _numbers(found, vocabulary, config, f"{where}, {part} part")
        for part, found in tokens.items()
    }
    return Text(
        name=config.name,
        source=where,
        level=config.level,
        vocabulary=tuple(vocabulary),
        **parts,
        notes=tuple(_notes(config, whole, tokens, vocabulary)),
    )


def _notes(
    config: TextConfig,
    whole: int,
    tokens: dict[str, Sequence[str]],
    vocabulary: dict[str, int],
) -> Iterator[str]:
    """What was left out or replaced."""
    if config.limit is not None and config.limit < whole:
        yield f"--data.limit keeps the first of {whole:,} training {config.level}s"
    unknown = {p: sum(t not in vocabulary for t in own) for p, own in tokens.items()}
    if any(unknown.values()):
        counts = ", ".join(f"{count:,} {part}" for part, count in unknown.items())
        yield f"not in the vocabulary and made {UNKNOWN}: {counts}"


def _check_dir(config: TextConfig, source: TextSource) -> None:
    """Raises unless ``config.dir`` is given exactly if needed, and exists."""
    if not source.dir and config.dir is not None:
        raise UserError(
            f"--data.dir: {config.dir} would not be read; text '{config.name}' needs "
            "no files; expected another --data.name (as file) or no --data.dir"
        )
    if source.dir and config.dir is None:
        raise UserError(
            f"--data.dir: not given; text '{config.name}' expects {source.dir}"
        )
    if config.dir is not None and not config.dir.exists():
        raise UserError(
            f"{config.dir}: no such file or folder (--data.dir); expected {source.dir}"
        )


def _tokens(text: str, level: str) -> Sequence[str]:
    if level == "character":
        return text
    return list(_words(text)) if text.strip() else []


def _words(text: str) -> Iterator[str]:
    for line in text.split("\n")[: -1 if text.endswith("\n") else None]:
        yield from line.split()
        yield "<eos>"


def _limited(tokens: Sequence[str], config: TextConfig, where: str) -> Sequence[str]:
    if config.limit is not None and config.limit > len(tokens):
        raise UserError(
            f"--data.limit: {config.limit} is more than the {len(tokens)} tokens of "
            f"the training part of {where}; expected at most as many"
        )
    return tokens[: config.limit]


def _vocabulary(
    config: TextConfig, closed: bool, tokens: dict[str, Sequence[str]]
) -> dict[str, int]:
    """From each token to its number."""
    seen = dict.fromkeys(tokens["train"])
    if config.vocabulary is not None and config.vocabulary < len(seen):
        kept = set(_most_frequent(tokens["train"], config.vocabulary - 1))
        seen = {t: None for t in seen if t in kept}
    elif closed:
        seen = dict.fromkeys(t for part in tokens.values() for t in part)
    missing = not all(t in seen for part in tokens.values() for t in part)
    if missing and config.unknown == "map":
        seen.setdefault(UNKNOWN)
    return {token: number for number, token in enumerate(seen)}


def _most_frequent(tokens: Sequence[str], count: int) -> list[str]:
    """Ties go to the token that comes first; `UNKNOWN` has its place anyway."""
    counts: dict[str, int] = {}
    for token in tokens:
        counts[token] = counts.get(token, 0) + 1
    counts.pop(UNKNOWN, None)
    return sorted(counts, key=lambda t: -counts[t])[:count]


def _numbers(
    tokens: Sequence[str], vocabulary: dict[str, int], config: TextConfig, where: str
) -> np.ndarray:
    default = vocabulary.get(UNKNOWN) if config.unknown == "map" else None
    numbers = [vocabulary.get(token, default) for token in tokens]
    if None in numbers:
        unknown = tokens[numbers.index(None)]
        raise UserError(
            f"{where}: has the {config.level} '{unknown}', which is not in the "
            f"vocabulary ({numbers.count(None)} of {len(numbers)} are not); expected "
            "none, or --data.unknown map"
        )
    return np.array(numbers, np.int32)
