"""The command that runs a configuration again."""

import dataclasses
import shlex
from typing import Any

from jdarts.config import SearchConfig, config_names, load_config
from jdarts.methods import get_method, name_of

__all__ = ["search_command"]


def search_command(config: SearchConfig) -> str:
    """``python -m jdarts.search CONFIG --field value ...``, as short as it can be.

    Args:
      config: the configuration of the run.
    """
    commands = [
        [name, *_overrides(load_config(name), config)] for name in config_names()
    ]
    best = min(commands, key=len)
    return shlex.join(["python", "-m", "jdarts.search", *best])


def _overrides(base: SearchConfig, config: SearchConfig) -> list[str]:
    """The arguments that turn one configuration into the other."""
    arguments = []
    method = name_of(config.method)
    if method != name_of(base.method):
        base = dataclasses.replace(base, method=get_method(method).config())
        arguments = ["--method", method]
    if config.seeds is not None:
        base = dataclasses.replace(base, seed=None, seeds=config.seeds)
        arguments += ["--seeds", *map(str, config.seeds)]
    else:
        base = base.with_seed(base.all_seeds[0])
    return arguments + _differing(base, config)


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
