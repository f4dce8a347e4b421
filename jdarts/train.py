"""``python -m jdarts.train``: from an architecture to what it is worth."""

import sys

from jdarts.entry import start

if __name__ == "__main__":  # before the imports that take seconds
    sys.exit(start("train", sys.argv[1:]))

from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from jdarts.compile import enable_cache
from jdarts.config_fields import renewed
from jdarts.io import RunFolder, hold, write_atomic, write_json
from jdarts.io.data_facts import DataFacts
from jdarts.lazy import LazyModule
from jdarts.loops.tally import Tally
from jdarts.loops.train import evaluate_checkpoint, run_training, train_setup
from jdarts.loops.train_record import EpochScore, TrainResult, results_json
from jdarts.nets.fixed import check_genotype
from jdarts.text_training import MAY_DIFFER, say_stopped, train_text
from jdarts.train_cli import TrainCommand, parse_train
from jdarts.train_config import TrainConfig, for_images, recipe_to_json, task_of

if TYPE_CHECKING:
    from jdarts import reports
else:
    reports = LazyModule("jdarts.reports")

__all__ = ["main", "population_summary", "summary"]


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit status."""
    command = parse_train(arguments)
    enable_cache()
    return _TASKS[task_of(command.config)](command)


def _train_images(command: TrainCommand) -> int:
    check_genotype(command.genotype, for_images(command.config, "the recipe").layers)
    if command.eval_only:
        return _evaluate(command)
    genotype = command.genotype
    start = train_setup(for_images(command.config, "the recipe"), genotype)
    config = start.config
    print(start.described, flush=True)
    described = recipe_to_json(config, genotype)
    with RunFolder.open(
        command.run_dir, described, MAY_DIFFER, command.extend, renewed
    ) as folder:
        folder.remember(DataFacts.file(folder.path))
        DataFacts.of(start.images).write(folder.path)
        results, stopped = run_training(config, start, folder)
        if stopped:
            return say_stopped(folder, stopped)
        said = folder.extensions_text(start.steps_per_epoch)
        text = write_results(config, folder, results, said)
        reports.write_report(folder.path)
        reports.renew_report(folder.path.absolute().parent)
        print(f"\n{text}\nwritten to {folder.path}", flush=True)
    return 0


# What a cell is for to how it is trained.
_TASKS = {"images": _train_images, "text": train_text}


def _evaluate(command: TrainCommand) -> int:
    recipe = for_images(command.config, "the recipe")
    start = train_setup(recipe, command.genotype, evaluates=True)
    config = start.config
    with hold(command.checkpoints.parent):
        scores = evaluate_checkpoint(config, start, command.checkpoints)
    print(start.images.described, flush=True)
    for seed, (score, tally) in zip(config.all_seeds, scores, strict=True):
        print(f"seed {seed}, epoch {score.epoch}: {_words(config.evaluate_on, score)}")
        if tally.text:
            print(tally.text)
    return 0


def write_results(
    config: TrainConfig, folder: RunFolder, results: list[TrainResult], said: str = ""
) -> str:
    """Writes ``result.json`` and ``summary.txt``; returns the summary.

    Args:
      config: the configuration.
      folder: of the run; with several seeds each has a part of it.
      results: one a seed.
      said: further lines of the summaries.
    """
    write_json(folder.result, results_json(config.name, results))
    text = summary(results[0]) + said
    if len(results) > 1:
        for result in results:
            part = folder.path / f"seed_{result.seed}"
            write_json(part / folder.result.name, result.to_json())
            write_atomic(part / folder.summary.name, summary(result) + said)
        text = population_summary(results) + said
    write_atomic(folder.summary, text)
    return text


def _words(part: str, score: EpochScore) -> str:
    return (
        f"{part} accuracy {100 * score.top1:.2f} % (top-5: {100 * score.top5:.2f} %), "
        f"{part} loss {score.loss:.4f}"
    )


def summary(result: TrainResult) -> str:
    """The result of one seed in words."""
    part, best = result.evaluated_on, result.best
    classes = "" if result.classes is None else result.classes.text
    return (
        f"training '{result.name}': {result.steps} steps, seed {result.seed}, "
        f"{result.parameters:,} parameters\n"
        f"after the last epoch: {_words(part, result.last)}\n"
        f"(always the most frequent class: {100 * result.majority:.2f} %)\n"
        f"best epoch, {best.epoch}: {100 * best.top1:.2f} %; chosen by the images that "
        "it is measured on, so optimistic\n"
        + (f"{classes}\n" if classes else "")
        + "".join(f"incomplete: {gap}\n" for gap in result.gaps)
    )


def population_summary(results: list[TrainResult]) -> str:
    """The results of several seeds in words: a table, with mean and deviation."""
    first = results[0]
    heads = ["top-1", "top-5", "best top-1"]
    figures = 100 * np.array(
        [[r.last.top1, r.last.top5, r.best.top1] for r in results], float
    )
    rows = [(str(r.seed), row) for r, row in zip(results, figures, strict=True)]
    rows += [("mean", figures.mean(axis=0)), ("std", figures.std(axis=0, ddof=1))]
    width = max(len(name) for name, _ in rows)
    lines = [
        f"training '{first.name}': {first.steps} steps, {len(results)} seeds, "
        f"{first.parameters:,} parameters",
        f"{first.evaluated_on} accuracy in % after the last epoch (always the most "
        f"frequent class: {100 * first.majority:.2f} %;",
        "best top-1: of the best epoch, chosen by the same images, so optimistic; std: "
        "of a sample)",
        "",
        "  ".join(["seed".rjust(width), *heads]),
    ]
    for name, row in rows:
        cells = [f"{x:{len(h)}.2f}" for x, h in zip(row, heads, strict=True)]
        lines.append("  ".join([name.rjust(width), *cells]))
    tallies = [result.classes for result in results if result.classes is not None]
    if len(tallies) == len(results) and (text := reduce(Tally.plus, tallies).text):
        lines += ["", f"of all seeds together, {text}"]
    lines += [f"incomplete: {gap}" for result in results for gap in result.gaps]
    return "\n".join(lines) + "\n"
