"""The command line: configuration, fields, and errors in one line."""

import contextlib
import dataclasses
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import tyro

from jdarts.config import AnySearchConfig, config_names, load_config
from jdarts.errors import RunError, UserError, unknown_choice
from jdarts.methods import METHODS, get_method

__all__ = [
    "SearchCommand",
    "config_flags",
    "one_line_errors",
    "parse_options",
    "parse_search",
    "refuse_other",
    "without_overridden_seeds",
    "run_command",
    "use_huge_pages",
]

_DEFAULT = "digits"
_Options = TypeVar("_Options")


class SearchCommand(NamedTuple):
    """A parsed command line.

    Attributes:
      config: the resolved configuration.
      run_dir: the run folder.
    """

    config: AnySearchConfig
    run_dir: Path


@dataclasses.dataclass(frozen=True)
class _Arguments:
    config: Annotated[Any, tyro.conf.arg(name="")]
    run_dir: Path | None = None
    """Folder of the run; the same command on the same folder goes on where it ended."""


def parse_search(arguments: list[str]) -> SearchCommand:
    """``[CONFIG] [--run-dir DIR] [--field value ...]``.

    Raises:
      UserError: for an unknown configuration, field or method, or a wrong value.
      SystemExit: after ``--help``.
    """
    rest = list(arguments)
    named = rest and not rest[0].startswith("-")
    config = load_config(rest.pop(0) if named else _DEFAULT)
    rest, method = _take(rest, "--method")
    if method is not None and not isinstance(config.method, get_method(method).config):
        config = config.with_method(get_method(method).config())
    _refuse_unknown(rest, config)
    config = without_overridden_seeds(rest, config)
    with one_line_errors():
        parsed = tyro.cli(
            _Arguments,
            args=rest,
            default=_Arguments(config),
            prog="python -m jdarts.search [CONFIG]",
            description=_description(),
        )
    run_dir = parsed.run_dir or Path("runs") / parsed.config.name
    return SearchCommand(parsed.config, run_dir)


def parse_options(
    kind: type[_Options], arguments: list[str], *, prog: str, description: str
) -> _Options:
    """The options of a command that has no configuration.

    Args:
      kind: a dataclass; its fields are the options.
      arguments: of the command line.
      prog: the command, for the help.
      description: for the help.

    Raises:
      UserError: for an unknown option, or a wrong value.
      SystemExit: after ``--help``.
    """
    flags = set()
    for field in dataclasses.fields(kind):  # pyrefly: ignore
        name = field.name.replace("_", "-")
        flags |= {f"--{name}", f"--no-{name}"}
    refuse_other(arguments, flags)
    with one_line_errors():
        return tyro.cli(kind, args=arguments, prog=prog, description=description)


def _description() -> str:
    return (
        "Searches an architecture. CONFIG: "
        f"{', '.join(config_names())} (default {_DEFAULT}), a .py file with "
        "get_config(), or a run's config.json. --method NAME takes a row of the "
        f"METHODS table: {', '.join(METHODS)}. Every field below overrides CONFIG."
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


def config_flags(config: Any, prefix: str = "") -> Iterator[str]:
    """Every flag that the fields of a configuration make."""
    for field in dataclasses.fields(config):
        name, value = field.name.replace("_", "-"), getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from config_flags(value, f"{prefix}{name}.")
        else:
            yield f"--{prefix}{name}"
            if isinstance(value, bool):
                yield f"--{prefix}no-{name}"


def _refuse_unknown(arguments: list[str], config: AnySearchConfig) -> None:
    refuse_other(arguments, {*config_flags(config), "--run-dir", "--method"})


def refuse_other(arguments: list[str], known: set[str]) -> None:
    """Raises a UserError for an option that is not known; it names the nearest one."""
    known = {*known, "--help", "-h"}
    for argument in arguments:
        flag = argument.split("=", 1)[0].replace("_", "-")
        if flag.startswith("--") and flag not in known:
            raise unknown_choice(
                "option", flag, known, all_of_them="see --help for all"
            )


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


def use_huge_pages() -> None:
    """Starts this process once more with large memory pages for large arrays (Linux).

    XLA:CPU asks for a step's memory anew at every call, and the system hands it out in
    pages of 4 KiB: for a supernet that can take as long as the step. The C library
    reads this setting only when a process starts. Does nothing where
    ``GLIBC_TUNABLES`` is set already; other C libraries ignore it.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def run_command(main: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Runs a command's `main`; prints its errors in one line.

    Returns:
      The exit status: 2 for what the user can mend, 1 for a run that cannot go on,
      as a shell reports it for a signal.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", stream=sys.stderr)
    try:
        return main(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; what was saved before stays", file=sys.stderr)
        return 130
    except BrokenPipeError:  # nobody reads the output any more: `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (OSError, MemoryError, RuntimeError) as error:
        reason = _reason(error)
        if reason is None:
            raise
        print(f"error: {reason}", file=sys.stderr)
        return 2


def _reason(error: OSError | MemoryError | RuntimeError) -> str | None:
    """What the user can do about an error of the system or of jax; None: nothing."""
    text = str(error)
    if isinstance(error, OSError):
        if error.filename is None:
            return None
        return f"{error.filename}: cannot be used ({error.strerror})"
    if isinstance(error, MemoryError):
        return (
            f"this machine has too little memory ({text or 'MemoryError'}); fewer "
            "images (--data.limit) need less"
        )
    if "RESOURCE_EXHAUSTED" in text:
        return (
            "the device has too little memory; a smaller --batch-size, --channels or "
            "--layers, fewer --seeds, or --remat, needs less"
        )
    if "Unable to initialize backend" in text:
        return f"JAX_PLATFORMS: {text.splitlines()[0]}; expected cpu, cuda or tpu"
    return None
