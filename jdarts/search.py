"""``python -m jdarts.search``: from data to a found architecture."""

import sys

from jdarts.cli import parse_search, run_command, use_huge_pages
from jdarts.compile import enable_cache
from jdarts.config import SearchConfig, to_json
from jdarts.io import RunFolder, cell_svg, cell_text, write_atomic
from jdarts.loops.search import SearchResult, run_search, setup

__all__ = ["main"]

# What a run may change when it goes on: where the data lie, and when to stop.
_MAY_DIFFER = ("steps", "data.dir", "checkpoint_minutes")


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit status."""
    command = parse_search(arguments)
    enable_cache()
    start = setup(command.config)
    with RunFolder.open(
        command.run_dir, to_json(command.config), _MAY_DIFFER
    ) as folder:
        result = run_search(command.config, start, folder)
        if result.stopped:
            print(
                f"stopped by a signal at step {result.steps}, everything saved; the "
                f"same command goes on from there ({folder.path})"
            )
            return result.stopped
        text = summary(command.config, result)
        write_atomic(folder.summary, text)
        for kind, cell in result.genotype.cells.items():
            title = f"{command.config.name}: {kind} cell"
            write_atomic(folder.drawing(kind), cell_svg(cell, title))
        print(f"\n{text}\nwritten to {folder.path}", flush=True)
    return 0


def summary(config: SearchConfig, result: SearchResult) -> str:
    """The result in words."""
    lines = [f"search '{config.name}': {result.steps} steps, seed {config.seed}"]
    if result.accuracy is not None:
        lines.append(
            f"supernet accuracy on the validation half: {100 * result.accuracy:.2f} % "
            f"(always the most frequent class: {100 * result.majority:.2f} %)"
        )
    for kind, cell in result.genotype.cells.items():
        lines += ["", f"{kind} cell", cell_text(cell)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    use_huge_pages()
    sys.exit(run_command(main, sys.argv[1:]))
