"""The options that the fields of a dataclass make, and what may follow each."""

import dataclasses
import re
import types
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import tyro

from jdarts.errors import UserError, unknown_option

__all__ = ["check_options", "list_rows", "option_types"]

_WORDS_OF_BOOLS = {"true", "false", "yes", "no", "on", "off", "1", "0"}
# A type to what one is called, and several.
_CALLED = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a word", "words"),
    Path: ("a file or folder", "files or folders"),
}


def option_types(config: Any, prefix: str = "--") -> dict[str, Any]:
    """Every option to the type of its field; ``bool`` also of ``--no-NAME``.

    Args:
      config: a dataclass; of an instance the fields that are dataclasses themselves are
        entered.
      prefix: of the options' names.
    """
    kind = config if isinstance(config, type) else type(config)
    hints, found = typing.get_type_hints(kind), {}
    for field in dataclasses.fields(kind):
        name, value = field.name.replace("_", "-"), getattr(config, field.name, None)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            found |= option_types(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = hints[field.name]
            if hints[field.name] is bool:
                found[f"{prefix}no-{name}"] = bool
    return found


def check_options(
    arguments: list[str], kinds: dict[str, Any], positionals: bool = False
) -> None:
    """Checks each option and the words behind it, without converting them.

    Args:
      arguments: of the command line.
      kinds: every option but the help's to the type of its value; see `option_types`.
      positionals: whether words may stand behind the values of an option.

    Raises:
      UserError: it names the option, what was found and what was expected; for an
        option that is not there, the nearest one.
    """
    _refuse_unknown(arguments, {*kinds, "--help", "-h"})
    for flag, words, sticks in _groups(arguments):
        if flag in kinds:
            _check(flag, words, kinds[flag], positionals and not sticks)
        elif not flag and words and not positionals:
            raise UserError(
                f"command line: found '{words[0]}'; expected an option here, as in "
                "--epochs 3"
            )


def _refuse_unknown(arguments: list[str], known: set[str]) -> None:
    for argument in arguments:
        written = argument.split("=", 1)[0]
        looks = written.startswith("--") or re.match(r"-[a-z]", written, re.I)
        if not looks or re.fullmatch(r"-(inf|infinity|nan)", written, re.I):
            continue  # a value
        if written.replace("_", "-") not in known:
            raise unknown_option(written, known)


def _groups(arguments: list[str]) -> Iterator[tuple[str, list[str], bool]]:
    """(option, the words behind it, whether it was written ``--name=value``)."""
    flag, words, sticks = "", [], False
    for argument in arguments:
        if argument.startswith("--") or argument == "-h":
            yield flag, words, sticks
            name, equals, value = argument.partition("=")
            flag = name.replace("_", "-")
            words, sticks = [value] if equals else [], bool(equals)
        else:
            words.append(argument)
    yield flag, words, sticks


def _check(flag: str, words: list[str], hint: Any, more: bool) -> None:
    optional, hint = _without_none(hint)
    if hint is bool:
        if words and (not more or words[0].casefold() in _WORDS_OF_BOOLS):
            raise UserError(
                f"{flag}: found '{words[0]}', expected no value; {_opposite(flag)} "
                "says the opposite"
            )
        return
    item, count = hint, 1
    if typing.get_origin(hint) is tuple:
        item, *rest = typing.get_args(hint)
        count = None if rest == [...] else 1 + len(rest)
    one, several = _CALLED.get(item, ("a value", "values"))
    expected = one if count == 1 else f"{count} {several}" if count else several
    if count is not None and len(words) < count:
        found = f"found '{' '.join(words)}'" if words else "no value given"
        raise UserError(f"{flag}: {found}; expected {expected}")
    if count is not None and len(words) > count and not more:
        raise UserError(f"{flag}: found '{' '.join(words)}', expected {expected}")
    for word in words[:count]:
        if not _is(word, item) and not (optional and word == "None"):
            if more and count is None:
                return  # words of the command itself: tyro tells them apart
            near = " (leave the option out for none)" if optional else ""
            raise UserError(f"{flag}: found '{word}', expected {expected}{near}")


def _without_none(hint: Any) -> tuple[bool, Any]:
    """(whether None is possible, the type without it)."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        rest = [part for part in typing.get_args(hint) if part is not type(None)]
        if len(rest) == 1:
            return True, rest[0]
    return False, hint


def _opposite(flag: str) -> str:
    """``--data.no-flip`` of ``--data.flip``, and the other way round."""
    start, dot, name = flag.removeprefix("--").rpartition(".")
    other = name.removeprefix("no-") if name.startswith("no-") else f"no-{name}"
    return f"--{start}{dot}{other}"


def _is(word: str, kind: Any) -> bool:
    if kind not in (int, float):
        return True
    try:
        kind(word)
    except ValueError:
        return False
    return True


def list_rows(kind: type, **tables: Iterable[str]) -> None:
    """Makes the help of fields name the rows of the tables that they take.

    A field cannot do so where it is defined: tables stand above what is in them. Only
    for a process that prints the help and ends.

    Args:
      kind: a dataclass.
      **tables: field to the names that it takes.
    """
    for field, names in tables.items():
        shown = tyro.conf.arg(metavar="|".join(names))
        kind.__annotations__[field] = Annotated[kind.__annotations__[field], shown]
