"""What all configurations share: checks, reading and writing, field by field."""

import contextlib
import dataclasses
import importlib.util
import math
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jdarts.data import get_dataset
from jdarts.data.split import BY_CLASS, FILE_ORDER
from jdarts.errors import UserError, unknown_choice
from jdarts.io import read_json
from jdarts.limits import check_numbers
from jdarts.nets.network import COMPUTE_DTYPES
from jdarts.spaces import SPACES, get_space

__all__ = [
    "RECIPE",
    "check_cells",
    "check_least",
    "check_run",
    "check_space",
    "load_file",
    "parse_fields",
    "plain",
    "renewed",
    "settle_seeds",
    "shipped",
]

RECIPE = "train_"
"""How the names of configurations of trainings begin; others are of searches."""


def check_space(name: str, task: str) -> None:
    """Raises a UserError unless it is a space whose networks are for that task."""
    if get_space(name).task != task:
        fitting = ", ".join(n for n, space in SPACES.items() if space.task == task)
        raise UserError(
            f"--space: '{name}' is searched on {get_space(name).task}, this run is on "
            f"{task}; expected one of {fitting}"
        )


def check_run(config: Any) -> None:
    """Checks the fields that the configurations of all runs have.

    Raises:
      UserError: it names the field as on the command line.
    """
    check_numbers(config)
    for field in ("epochs", "batch_size", "log_every"):
        check_least(field, getattr(config, field), 1)
    if config.steps is not None:
        check_least("steps", config.steps, 1)
    minutes = config.checkpoint_minutes
    if not (minutes > 0 and math.isfinite(minutes)):
        raise UserError(f"--checkpoint-minutes: {minutes}; expected more than 0")
    if Path(config.name).name != config.name or config.name in ("", ".."):
        raise UserError(f"--name: '{config.name}'; expected the name of a folder")


def check_cells(config: Any) -> None:
    """Checks the fields that the configurations of networks of cells have.

    Raises:
      UserError: it names the field as on the command line.
    """
    for field in ("channels", "layers"):
        check_least(field, getattr(config, field), 1)
    if config.compute_dtype not in COMPUTE_DTYPES:
        raise unknown_choice("--compute-dtype", config.compute_dtype, COMPUTE_DTYPES)


def settle_seeds(config: Any, default: int) -> None:
    """Afterwards there is either a seed, or several seeds.

    Args:
      config: a frozen dataclass with both fields, just being made.
      default: the seed if neither is given.
    """
    if config.seeds is not None:
        if config.seed is not None:
            raise UserError(
                f"--seeds: given together with --seed {config.seed}; expected one of "
                "the two"
            )
        _check_seeds(config.seeds)
        if len(config.seeds) == 1:  # the same as a seed
            object.__setattr__(config, "seed", config.seeds[0])
            object.__setattr__(config, "seeds", None)
    elif config.seed is None:
        object.__setattr__(config, "seed", default)
    else:
        _check_seed("--seed", config.seed)


def _check_seeds(seeds: tuple[int, ...]) -> None:
    if not seeds:
        raise UserError("--seeds: none given; expected numbers, as in --seeds 0 1 2")
    seen = set()
    for seed in seeds:
        _check_seed("--seeds", seed)
        if seed in seen:
            raise UserError(f"--seeds: {seed} is given twice; expected it once")
        seen.add(seed)


def _check_seed(flag: str, seed: int) -> None:
    if not 0 <= seed < 2**32:
        raise UserError(f"{flag}: {seed}; expected 0 to {2**32 - 1}")


def check_least(field: str, value: int, least: int) -> None:
    """Raises a UserError, naming the field, for a value that is too small."""
    if value < least:
        flag = field.replace("_", "-")
        raise UserError(f"--{flag}: {value}; expected a whole number >= {least}")


def shipped() -> dict[str, Path]:
    """The configurations of all kinds that come with jdarts: name to file."""
    package = Path(__file__).resolve().parent
    # Inside the installed package, or beside it in a checkout.
    for folder in (package / "configs", package.parent / "configs"):
        if folder.is_dir():
            files = sorted(folder.glob("*.py"))
            return {f.stem: f for f in files if not f.stem.startswith("_")}
    return {}


def load_file(
    which: str,
    names: dict[str, Path],
    kind: Any,
    to_json: Callable[[Any], Any],
    from_json: Callable[[Any, str], Any],
) -> Any:
    """Reads a configuration of any kind; see `load_config`.

    Args:
      which: name or file.
      names: those that come with jdarts.
      kind: what ``get_config()`` has to return: a class, or a union of some.
      to_json: writes it as plain data.
      from_json: reads plain data, and checks the values' types.
    """
    path = names.get(which, Path(which))
    if which not in names and path.suffix == ".json":
        return from_json(read_json(path), str(path))
    if path.suffix != ".py":
        raise unknown_choice("configuration", which, names)
    if not path.is_file():
        raise UserError(f"{path}: no such configuration file")
    config = _run_config_file(path)
    if not isinstance(config, kind):
        wanted = " or ".join(k.__name__ for k in typing.get_args(kind) or (kind,))
        raise UserError(
            f"{path}: get_config() gave {type(config).__name__}, expected {wanted}"
        )
    return from_json(to_json(config), str(path))


def _run_config_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"jdarts_config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.get_config()
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{path}: {type(error).__name__}: {error}; expected a Python file that "
            "defines get_config()"
        ) from None


def plain(value: Any) -> Any:
    """A configuration, or a part of one, as plain data for JSON."""
    if dataclasses.is_dataclass(value):
        return {
            f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)
        }
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def renewed(config: dict[str, Any]) -> dict[str, Any]:
    """What a run's ``config.json`` says, as this version writes it.

    The first version, 0.1.0, had ``data.stratified`` for ``data.split``; it wrote it
    for trainings with all training images as well, which nothing divides. Images were
    never resized or left out.
    """
    data = config.get("data")
    if not isinstance(data, dict) or type(data.get("stratified")) is not bool:
        return config
    split = BY_CLASS if data["stratified"] else FILE_ORDER
    usual = get_dataset(str(data.get("name", "digits"))).split
    rest = {name: value for name, value in data.items() if name != "stratified"}
    whole = config.get("evaluate_on") == "test" and data.get("limit") is None
    unsaid = whole or split == usual
    rest |= {"split": None if unsaid else split, "resize": None, "skip_damaged": False}
    return config | {"data": rest}


def parse_fields(kind: Any, data: Any, where: str, **given: Any) -> Any:
    """A dataclass from a JSON object, checked field by field.

    Args:
      kind: the dataclass.
      data: the object.
      where: of it, for errors.
      **given: further fields.

    Raises:
      UserError: for an unknown field, or a value of the wrong type.
    """
    if not isinstance(data, dict):
        raise UserError(f"{where}: found {data!r}, expected a JSON object")
    hints = typing.get_type_hints(kind)
    for name, value in data.items():
        if name not in hints:
            raise unknown_choice(f"{where}: field", name, hints)
        given[name] = _parse_value(hints[name], value, f"{where}: {name}")
    return kind(**given)


def _parse_value(hint: Any, value: Any, where: str) -> Any:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for option in options:
        if dataclasses.is_dataclass(option):
            return parse_fields(option, value, where)
        if option is type(None) and value is None:
            return None
        if option is Path and isinstance(value, str):
            return Path(value)
        if typing.get_origin(option) is tuple and isinstance(value, list):
            (item, _) = typing.get_args(option)  # tuple[item, ...]
            return tuple(_parse_value(item, v, where) for v in value)
        if option is float and type(value) in (int, float):
            with contextlib.suppress(OverflowError):  # a whole number with no end
                return float(value)
        if type(value) is option:
            return value
    expected = " or ".join(getattr(o, "__name__", str(o)) for o in options)
    raise UserError(f"{where}: found {value!r}, expected {expected}")
