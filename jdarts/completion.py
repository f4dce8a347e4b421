"""``jdarts completion SHELL``: a script that completes commands, options and names."""

import sys

from jdarts.entry import start

if __name__ == "__main__":  # before the imports that take seconds
    sys.exit(start("completion", sys.argv[1:]))

import dataclasses
import importlib
from collections.abc import Callable

from jdarts import cli, train_cli
from jdarts.commands import COMMANDS
from jdarts.comparisons.arguments import CompareOptions
from jdarts.config import config_names, load_config
from jdarts.errors import UserError, unknown_choice
from jdarts.methods import METHODS
from jdarts.options import option_types
from jdarts.spaces import ZOO
from jdarts.train_config import load_recipe, recipe_names

__all__ = ["SHELLS", "main", "words"]


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit status."""
    if set(arguments) & {"--help", "-h"}:
        print(f"usage: jdarts completion {'|'.join(SHELLS)}\n\n{_USE}")
        return 0
    if len(arguments) != 1:
        raise UserError(f"command line: expected one of {', '.join(SHELLS)}")
    if arguments[0] not in SHELLS:
        raise unknown_choice("shell", arguments[0], SHELLS)
    print(SHELLS[arguments[0]]())
    return 0


_USE = """Prints a script that completes commands, options and names:

  bash:  eval "$(jdarts completion bash)"          in ~/.bashrc
  zsh:   eval "$(jdarts completion zsh)"           in ~/.zshrc
  fish:  jdarts completion fish > ~/.config/fish/completions/jdarts.fish"""


def words(command: str) -> list[str]:
    """What may stand behind a command, except names of files.

    Args:
      command: a row of COMMANDS.
    """
    own = _WORDS.get(command)
    return own() if own is not None else _options(command)


def _search() -> list[str]:
    options = option_types(load_config("digits")) | cli.OWN
    for row in METHODS.values():
        options |= option_types(row.config(), "--method.")
    return [*sorted(options), *config_names()]


def _train() -> list[str]:
    recipes = map(load_recipe, ("train_digits", "train_topics"))
    options = {name for recipe in recipes for name in option_types(recipe)}
    return [*sorted(options | {*train_cli.OWN}), *recipe_names(), *ZOO]


def _compare() -> list[str]:
    recipe = option_types(load_recipe("train_digits"))
    return sorted(option_types(CompareOptions) | recipe)


def _options(command: str) -> list[str]:
    """The options of the dataclasses ``...Options`` in a command's module."""
    module = importlib.import_module(COMMANDS[command].module)
    kinds = [getattr(module, n) for n in module.__dict__ if n.endswith("Options")]
    names = {n for k in kinds if dataclasses.is_dataclass(k) for n in option_types(k)}
    return sorted(names)


def _rows() -> dict[str, list[str]]:
    return {name: ["--help", *words(name)] for name in COMMANDS}


def _bash() -> str:
    cases = "\n".join(
        f'    {name}) words="{" ".join(all_of)}" ;;' for name, all_of in _rows().items()
    )
    return f"""_jdarts() {{
  local words current="${{COMP_WORDS[COMP_CWORD]}}"
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="{" ".join(COMMANDS)} --help --version"
  else
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
    case "$current" in
    -*) ;;
    *) COMPREPLY=($(compgen -f -- "$current")) ;;
    esac
  fi
  COMPREPLY+=($(compgen -W "$words" -- "$current"))
}}
complete -o filenames -F _jdarts jdarts"""


def _zsh() -> str:
    return f"autoload -U +X bashcompinit && bashcompinit\n{_bash()}"


def _fish() -> str:
    lines = ["complete -c jdarts -n __fish_use_subcommand -l version"]
    for name, row in COMMANDS.items():
        summary = row.summary.replace("'", "\\'")
        lines.append(
            f"complete -c jdarts -n __fish_use_subcommand -a {name} -d '{summary}'"
        )
    for name, all_of in _rows().items():
        lines.append(
            f"complete -c jdarts -n '__fish_seen_subcommand_from {name}' "
            f"-a '{' '.join(all_of)}'"
        )
    return "\n".join(lines)


SHELLS: dict[str, Callable[[], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
"""A shell to what writes its script."""

_WORDS: dict[str, Callable[[], list[str]]] = {
    "search": _search,
    "train": _train,
    "cost": lambda: [*_options("cost"), *ZOO],
    "compare": _compare,
    "completion": lambda: list(SHELLS),
}
"""What may stand behind commands that take more than their module's options."""
