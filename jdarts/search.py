"""``python -m jdarts.search``: from data to a found architecture."""

import sys

from jdarts.entry import start

if __name__ == "__main__":  # before the imports that take seconds
    sys.exit(start("search", sys.argv[1:]))

from typing import TYPE_CHECKING

import numpy as np

from jdarts.cli import parse_search
from jdarts.compile import enable_cache
from jdarts.config import AnySearchConfig, to_json
from jdarts.config_fields import renewed
from jdarts.io import RunFolder, cell_svg, cell_text, write_atomic
from jdarts.io.data_facts import DataFacts
from jdarts.lazy import LazyModule
from jdarts.loops.search import SearchResult, Setup, run_search, setup
from jdarts.spaces.random import network_of

if TYPE_CHECKING:
    from jdarts import reports
else:
    reports = LazyModule("jdarts.reports")

__all__ = ["main", "population_summary", "summary"]

# What a run may change when it goes on: where the data lie, and when to stop.
_MAY_DIFFER = ("steps", "data.dir", "checkpoint_minutes", "table")


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit status."""
    command = parse_search(arguments)
    enable_cache()
    start = setup(command.config)
    print(start.described, flush=True)
    with RunFolder.open(
        command.run_dir, to_json(command.config), _MAY_DIFFER, command.extend, renewed
    ) as folder:
        if isinstance(start, Setup):
            folder.remember(DataFacts.file(folder.path))
            DataFacts.of(start.images).write(folder.path)
        results = run_search(command.config, start, folder)
        if results[0].stopped:
            print(
                f"stopped by a signal at step {results[0].steps}, everything saved; "
                f"the same command goes on from there ({folder.path})"
            )
            return results[0].stopped
        said = folder.extensions_text(start.steps_per_epoch)
        texts = [_write_results(command.config, result, said) for result in results]
        text = texts[0]
        if len(results) > 1:
            text = population_summary(command.config, results) + said
            write_atomic(folder.summary, text)
        reports.write_report(folder.path)
        print(f"\n{text}\nwritten to {folder.path}", flush=True)
    return 0


def _write_results(config: AnySearchConfig, result: SearchResult, said: str) -> str:
    """Writes a seed's summary, with what is said of extensions, and drawings; returns
    the summary."""
    text = summary(config.with_seed(result.seed), result) + said
    write_atomic(result.folder.summary, text)
    for kind, cell in result.genotype.cells.items():
        title = f"{config.name}: {kind} cell"
        write_atomic(result.folder.drawing(kind), cell_svg(cell, title))
    return text


def summary(config: AnySearchConfig, result: SearchResult) -> str:
    """The result of one seed in words."""
    lines = [f"search '{config.name}': {result.steps} steps, seed {config.seed}"]
    if result.measured:
        lines.append(result.measures.sentence(result.measured))
    if result.early is not None:
        after, epoch, ratio = result.early
        lines.append(
            f"stopped after epoch {after}: the curvature has grown {ratio:.2f}-fold; "
            f"the result is the genotype of epoch {epoch}"
        )
    lines += [f"incomplete: {gap}" for gap in result.gaps]
    for kind, cell in result.genotype.cells.items():
        lines += ["", f"{kind} cell", cell_text(cell)]
    return "\n".join(lines) + "\n"


def population_summary(config: AnySearchConfig, results: list[SearchResult]) -> str:
    """The results of several seeds in words: a table, with mean and deviation."""
    measures, first = results[0].measures, results[0].measured
    heads = list(measures.columns(first))
    figures = np.array(
        [list(measures.columns(r.measured).values()) for r in results], float
    )
    rows = [(str(r.seed), row) for r, row in zip(results, figures, strict=True)]
    rows += [("mean", figures.mean(axis=0)), ("std", figures.std(axis=0, ddof=1))]
    table = [("seed", *heads), *((n, *(f"{x:.2f}" for x in row)) for n, row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    distinct = len({network_of(r.genotype) for r in results})
    steps = max(result.steps for result in results)
    lines = [
        f"search '{config.name}': {steps} steps, {len(results)} seeds, "
        f"{distinct} distinct genotypes",
        measures.heading(first),
        "",
    ]
    for cells in table:
        line = (c.rjust(w) for c, w in zip(cells, widths, strict=True))
        lines.append("  ".join(line))
    for result in results:
        if result.early is not None:
            after, epoch, _ = result.early
            lines.append(
                f"seed {result.seed} stopped after epoch {after}; its result is the "
                f"genotype of epoch {epoch}"
            )
    lines += [f"incomplete: {gap}" for result in results for gap in result.gaps]
    return "\n".join(lines) + "\n"
