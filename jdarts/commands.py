"""The commands: one row each. Imports nothing, so that naming them costs nothing."""

from typing import NamedTuple

__all__ = ["COMMANDS", "Command", "overview"]


class Command(NamedTuple):
    """A command; its module has ``main(arguments) -> exit status``.

    Attributes:
      module: its module.
      summary: what it does, in one line.
      computes: whether it runs networks, for which memory is set up beforehand.
      prints: whether its result is what it prints, and not only files.
    """

    module: str
    summary: str
    computes: bool = False
    prints: bool = False


COMMANDS = {
    "search": Command("jdarts.search", "finds an architecture for data", computes=True),
    "train": Command(
        "jdarts.train", "trains what was found, or a published genotype", computes=True
    ),
    "report": Command("jdarts.report", "shows a run as one page"),
    "export": Command(
        "jdarts.export", "writes a trained network for other programs", computes=True
    ),
    "cost": Command(
        "jdarts.cost",
        "counts and times a derived network, part by part",
        computes=True,
        prints=True,
    ),
    "compare": Command(
        "jdarts.compare", "tells whether searches beat chance", computes=True
    ),
    "perturb": Command(
        "jdarts.perturb",
        "derives another genotype from a finished search",
        computes=True,
    ),
    "latency": Command(
        "jdarts.latency", "times every primitive of a space", computes=True
    ),
    "pareto": Command(
        "jdarts.pareto", "sets cost against accuracy over several searches"
    ),
    "regret": Command(
        "jdarts.regret", "compares searches by their cells' known accuracies"
    ),
    "methods": Command(
        "jdarts.methods.__main__", "prints the table of search methods", prints=True
    ),
    "completion": Command(
        "jdarts.completion", "completes commands in bash, zsh or fish", prints=True
    ),
}


def overview() -> str:
    """What ``jdarts`` prints: every command with its line."""
    width = max(map(len, COMMANDS))
    rows = [f"  {name:{width}}  {row.summary}" for name, row in COMMANDS.items()]
    return "\n".join(
        [
            "usage: jdarts COMMAND ... (or python -m jdarts COMMAND ...)",
            "",
            *rows,
            "",
            "jdarts COMMAND --help explains a command; jdarts --version",
        ]
    )
