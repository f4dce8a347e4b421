"""The command line: configuration, fields, and errors in one line."""

import contextlib
import dataclasses
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import tyro

from jdarts.config import (
    CONFIGS,
    AnySearchConfig,
    SearchConfig,
    config_names,
    load_config,
    run_name,
)
from jdarts.data import DATASETS, TEXTS, DataConfig, TextConfig
from jdarts.entry import run_command, use_huge_pages
from jdarts.errors import UserError, same_name
from jdarts.hardware import COSTS, HardwareConfig
from jdarts.hypergradient import HYPERGRADIENTS, HypergradientConfig
from jdarts.methods import METHODS, get_method
from jdarts.nets.network import COMPUTE_DTYPES
from jdarts.nets.stems import STEMS
from jdarts.options import check_options, list_rows, option_types
from jdarts.spaces import SPACES
from jdarts.text_config import TextSearchConfig

__all__ = [
    "EXTEND",
    "OWN",
    "SearchCommand",
    "list_tables",
    "one_line_errors",
    "parse_options",
    "parse_search",
    "without_overridden_seeds",
    "run_command",
    "use_huge_pages",
]

EXTEND = ("--extend", "--no-extend")
"""The flags of `SearchCommand.extend`, and of a training's."""

OWN = {"--run-dir": Path, "--method": str} | dict.fromkeys(EXTEND, bool)
"""The options of a search that are no fields of its configuration, to their types."""

_DEFAULT = "digits"
_Options = TypeVar("_Options")


class SearchCommand(NamedTuple):
    """A parsed command line.

    Attributes:
      config: the resolved configuration.
      run_dir: the run folder.
      extend: whether the run is there and may go on for more epochs.
    """

    config: AnySearchConfig
    run_dir: Path
    extend: bool = False


@dataclasses.dataclass(frozen=True)
class _Arguments:
    config: Annotated[Any, tyro.conf.arg(name="")]
    run_dir: Path | None = None
    """Folder of the run; the same command on the same folder goes on where it ended."""
    extend: bool = False
    """Go on with a run for more --epochs than it was planned for. What is done stays as
    it was, under the schedules of fewer epochs; the run's record says so."""


def parse_search(arguments: list[str]) -> SearchCommand:
    """``[CONFIG] [--run-dir DIR] [--field value ...]``.

    Raises:
      UserError: for an unknown configuration, field or method, or a wrong value.
      SystemExit: after ``--help``.
    """
    rest = list(arguments)
    named = rest and not rest[0].startswith("-")
    config = base = load_config(rest.pop(0) if named else _DEFAULT)
    rest, method = _take(rest, "--method")
    _refuse_hypergradient(method)
    if method is not None and not isinstance(config.method, get_method(method).config):
        config = config.with_method(get_method(method).config())
    check_options(rest, option_types(config) | OWN)
    list_tables(rest)
    config = without_overridden_seeds(rest, config)
    with one_line_errors():
        parsed = tyro.cli(
            _Arguments,
            args=rest,
            default=_Arguments(config),
            prog="python -m jdarts.search [CONFIG]",
            description=_description(),
        )
    config = parsed.config
    if not any(argument.split("=", 1)[0] == "--name" for argument in rest):
        config = dataclasses.replace(config, name=run_name(base, config))
    run_dir = parsed.run_dir or Path("runs") / config.name
    return SearchCommand(config, run_dir, parsed.extend)


def parse_options(
    kind: type[_Options],
    arguments: list[str],
    *,
    prog: str,
    description: str,
    **tables: Iterable[str],
) -> _Options:
    """The options of a command that has no configuration.

    Args:
      kind: a dataclass; its fields are the options.
      arguments: of the command line.
      prog: the command, for the help.
      description: for the help.
      **tables: field to the names that it takes, for the help.

    Raises:
      UserError: for an unknown option, or a wrong value.
      SystemExit: after ``--help``.
    """
    check_options(arguments, option_types(kind), positionals=True)
    if {"--help", "-h"} & set(arguments):
        list_rows(kind, **tables)
    with one_line_errors():
        return tyro.cli(kind, args=arguments, prog=prog, description=description)


def _description() -> str:
    return (
        "Searches an architecture. CONFIG: "
        f"{', '.join(config_names())} (default {_DEFAULT}), a .py file with "
        "get_config(), or a run's config.json. --method NAME takes a row of the "
        f"METHODS table: {', '.join(METHODS)}. Every field below overrides CONFIG."
    )


def list_tables(arguments: list[str]) -> None:
    """Where help is asked for, it names the rows of tables behind their fields."""
    if not {"--help", "-h"} & set(arguments):
        return
    of = {task: [n for n, s in SPACES.items() if s.task == task] for task in CONFIGS}
    shared = {"stem": STEMS, "compute_dtype": COMPUTE_DTYPES}
    list_rows(SearchConfig, space=of["images"], **shared)
    list_rows(TextSearchConfig, space=of["text"])
    list_rows(DataConfig, name=DATASETS)
    list_rows(TextConfig, name=TEXTS)
    list_rows(HypergradientConfig, name=HYPERGRADIENTS)
    list_rows(HardwareConfig, cost=COSTS)


def _refuse_hypergradient(method: str | None) -> None:
    """What is no method but a hypergradient: methods and these are chosen apart."""
    rule = same_name(method or "", HYPERGRADIENTS)
    if rule and method not in METHODS:
        raise UserError(
            f"--method: '{method}' is no method but a hypergradient; expected "
            f"--method.hypergradient.name {rule}, or one of {', '.join(METHODS)}"
        )


def _take(arguments: list[str], flag: str) -> tuple[list[str], str | None]:
    """Takes ``flag VALUE`` or ``flag=VALUE`` out of the arguments."""
    for i, argument in enumerate(arguments):
        if argument == flag:
            if i + 1 == len(arguments):
                raise UserError(f"{flag}: no value given")
            return arguments[:i] + arguments[i + 2 :], arguments[i + 1]
        if argument.startswith(flag + "="):
            return arguments[:i] + arguments[i + 1 :], argument.split("=", 1)[1]
    return arguments, None


def without_overridden_seeds(arguments: list[str], config: Any) -> Any:
    """``--seed`` replaces the configuration's seeds, ``--seeds`` its seed."""
    flags = {argument.split("=", 1)[0] for argument in arguments}
    if "--seeds" in flags:  # whatever stands here: the command line's come instead
        return dataclasses.replace(config, seed=None, seeds=(0, 1))
    if "--seed" in flags:
        return dataclasses.replace(config, seed=None, seeds=None)
    return config


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns tyro's framed messages into one line."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            yield
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        text = re.sub(r"\x1b\[[0-9;]*m|[─│╭╮╰╯]", " ", printed.getvalue())
        text = re.sub(r"\s+", " ", text).strip()
        text = re.split(r" (?:For full|Argument) helptext| Perhaps you meant", text)[0]
        text = re.sub(r"^(Parsing error|Unrecognized options) ", "", text)
        raise UserError(f"command line: {text}") from None
