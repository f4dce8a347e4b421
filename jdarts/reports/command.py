"""The command that runs a configuration again."""

import contextlib
import dataclasses
import shlex
from pathlib import Path
from typing import Any

from jdarts.config import AnySearchConfig, config_names, load_config, run_name
from jdarts.errors import UserError
from jdarts.methods import get_method, name_of
from jdarts.spaces import ZOO, Genotype
from jdarts.train_config import Recipe, load_recipe, recipe_names

__all__ = ["search_command", "train_command"]


def search_command(config: AnySearchConfig) -> str:
    """``python -m jdarts.search CONFIG --field value ...``, as short as it can be.

    Args:
      config: the configuration of the run.
    """
    named = {name: load_config(name) for name in config_names()}
    named = {n: base for n, base in named.items() if type(base) is type(config)}
    found = []
    for name, base in named.items():
        with contextlib.suppress(UserError):  # its settings do not fit the method
            found.append(_search(name, base, config))
    rest = min(found, key=len)
    return shlex.join(["python", "-m", "jdarts.search", *rest])


def train_command(config: Recipe, genotype: Genotype, path: Path) -> str:
    """``python -m jdarts.train GENOTYPE RECIPE --field value ...``, likewise.

    Args:
      config: the configuration of the run.
      genotype: what is trained.
      path: a file that holds it; used if it has no name.
    """
    names = [name for name, published in ZOO.items() if published == genotype]
    named = {name: load_recipe(name) for name in recipe_names()}
    named = {n: base for n, base in named.items() if type(base) is type(config)}
    recipes = ([name, *_fields(base, config)] for name, base in named.items())
    what = names[0] if names else str(path)
    rest = min(recipes, key=len)
    return shlex.join(["python", "-m", "jdarts.train", what, *rest])


def _search(name: str, base: AnySearchConfig, config: AnySearchConfig) -> list[str]:
    """A configuration's name, and what turns it into another one."""
    base = dataclasses.replace(base, name=run_name(base, config))
    method = name_of(config.method)
    if method == name_of(base.method):
        return [name, *_fields(base, config)]
    base = base.with_method(get_method(method).config())
    return [name, "--method", method, *_fields(base, config)]


def _fields(base: Any, config: Any) -> list[str]:
    """The fields that turn one configuration into another, seeds first."""
    if config.seeds is None:
        return _differing(base.with_seed(base.all_seeds[0]), config)
    base = dataclasses.replace(base, seed=None, seeds=config.seeds)
    return ["--seeds", *map(str, config.seeds), *_differing(base, config)]


def _differing(base: Any, config: Any, prefix: str = "") -> list[str]:
    arguments: list[str] = []
    for field in dataclasses.fields(config):
        old, new = getattr(base, field.name), getattr(config, field.name)
        name = field.name.replace("_", "-")
        if dataclasses.is_dataclass(new):
            arguments += _differing(old, new, f"{prefix}{name}.")
        elif old != new and isinstance(new, bool):
            arguments.append(f"--{prefix}{name if new else f'no-{name}'}")
        elif old != new:
            values = new if isinstance(new, tuple) else (new,)
            arguments += [f"--{prefix}{name}", *map(str, values)]
    return arguments
