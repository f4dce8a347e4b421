"""The report of the training of a recurrent cell, and of such trainings in others."""

from collections.abc import Iterator, Sequence

import numpy as np
from markupsafe import Markup

from jdarts.loops.text_result import TextResult
from jdarts.reports import html
from jdarts.reports.architecture import drawings
from jdarts.reports.command import train_command
from jdarts.reports.curves import text_train_curves
from jdarts.reports.page import Section, page
from jdarts.reports.run import TrainRun
from jdarts.reports.settings import configuration, reproduce
from jdarts.reports.times import timing, timing_facts
from jdarts.statistics import mean_deviation
from jdarts.text_train_config import TextTrainConfig
from jdarts.train_config import recipe_to_json

__all__ = ["text_results", "text_train_report"]


def text_train_report(run: TrainRun) -> str:
    """The page of a training, whatever state it is in.

    Args:
      run: what `read_run` returned.
    """
    return page(
        kind="training",
        title=run.config.name,
        lead=_lead(run),
        top=_facts(run),
        sections=list(_sections(run)),
        missing=[*run.damage, *_missing(run)],
    )


def _lead(run: TrainRun) -> str:
    config = run.config
    what = f"a recurrent cell of {config.units} units on {config.data.name}"
    if len(run.seeds) > 1:
        what += f", {len(run.seeds)} seeds"
    if run.results:
        return f"Finished training: {what}."
    return f"Training up to epoch {run.epochs} of {config.epochs}: {what}."


def _facts(run: TrainRun) -> Markup:
    entries = []
    if run.results:
        found = np.array([result.test["perplexity"] for result in run.results])
        mean, deviation = mean_deviation(found)
        note = "weights of the epoch with the best validation"
        if deviation is not None:
            note += f"; mean of {len(found)} seeds, deviation {deviation:.2f}"
        counted = run.results[0].baselines["test"]
        note += (
            f"; unigrams: {counted['unigram_perplexity']:.2f}, bigrams: "
            f"{counted['bigram_perplexity']:.2f}"
        )
        entries.append(("Test perplexity", f"{mean:.2f}", note))
        entries.append(("Parameters", f"{run.results[0].parameters:,}", ""))
    elif run.begun:
        found = np.array([seed.epochs[-1]["valid_perplexity"] for seed in run.begun])
        mean, _ = mean_deviation(found)
        entries.append(("Validation perplexity", f"{mean:.2f}", "so far"))
    if run.begun:
        epochs = f"{run.epochs} of {run.config.epochs}"
        entries.append(("Epochs", epochs, "; ".join(run.extended)))
    return html.facts([*entries, *timing_facts(run.timing)])


def _sections(run: TrainRun) -> Iterator[Section]:
    genotype = run.seeds[0].final
    if run.results:
        yield Section("result", "Result", text_results([run]))
    if run.begun:
        yield Section("progress", "Perplexities", text_train_curves(run.begun))
    if genotype is not None:
        yield Section("cells", "Cells", drawings(genotype))
    if times := timing(run.timing):
        yield Section("time", "Time", times)
    shown = configuration(recipe_to_json(run.config), recipe_to_json(TextTrainConfig()))
    yield Section("configuration", "Configuration", shown)
    if genotype is not None:
        file = run.seeds[0].path / "genotype.json"
        command = train_command(run.config, genotype, file)
        yield Section("reproduce", "How to reproduce", reproduce(command, run.timing))


def _missing(run: TrainRun) -> Iterator[str]:
    if not run.begun and not run.results:
        yield "Perplexities: no epoch has ended yet."
    elif not run.results and run.epochs < run.config.epochs:
        yield (
            f"The result: the training is at epoch {run.epochs} of "
            f"{run.config.epochs}; its command goes on with it."
        )
    if not run.timing:
        yield "Time: the run has no timing.jsonl."


def text_results(runs: Sequence[TrainRun]) -> Markup:
    """A table of what finished trainings have come to."""
    rows = [(run.path.name, *_row(result)) for run in runs for result in run.results]
    return html.table(
        "Perplexities: on the test text with the weights of the best epoch, and on the "
        "validation text of the best and of the last epoch; unigrams and bigrams are "
        "what counting achieves on the test text",
        [
            "Training",
            "Seed",
            "Text",
            "Parameters",
            "Test",
            "Best (epoch)",
            "Last (epoch)",
            "Averaged from",
            "Unigrams",
            "Bigrams",
        ],
        rows,
    )


def _row(result: TextResult) -> tuple[str, ...]:
    counted = result.baselines["test"]
    return (
        str(result.seed),
        result.text,
        f"{result.parameters:,}",
        f"{result.test['perplexity']:.2f}",
        f"{result.best['perplexity']:.2f} ({result.best['epoch']})",
        f"{result.last['perplexity']:.2f} ({result.last['epoch']})",
        str(result.averaged_from or "-"),
        f"{counted['unigram_perplexity']:.2f}",
        f"{counted['bigram_perplexity']:.2f}",
    )
