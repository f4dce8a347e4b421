"""The report of a training, and of trainings in that of a search."""

from collections.abc import Iterator, Sequence

import numpy as np
from markupsafe import Markup

from jdarts.reports import html
from jdarts.reports.architecture import drawings
from jdarts.reports.classes import class_facts, classes
from jdarts.reports.command import train_command
from jdarts.reports.costs import measured
from jdarts.reports.curves import percent, train_curves
from jdarts.reports.page import Section, page
from jdarts.reports.run import TrainRun
from jdarts.reports.settings import configuration, reproduce
from jdarts.reports.text_train import text_results
from jdarts.reports.times import timing, timing_facts
from jdarts.statistics import mean_deviation
from jdarts.train_config import TrainConfig, recipe_to_json, task_of

__all__ = ["retrainings", "train_report"]


def train_report(run: TrainRun) -> str:
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
    what = f"{config.layers} cells of {config.channels} channels on {config.data.name}"
    if len(run.seeds) > 1:
        what += f", {len(run.seeds)} seeds"
    if run.results:
        return f"Finished training: {what}."
    return f"Training up to epoch {run.epochs} of {config.epochs}: {what}."


def _facts(run: TrainRun) -> Markup:
    entries = []
    part = {"test": "Test", "valid": "Validation"}[run.config.evaluate_on]
    if run.results:
        last = [result.last.top1 for result in run.results]
        mean, deviation = mean_deviation(np.array(last))
        note = "after the last epoch"
        if deviation is not None:
            note += f"; mean of {len(last)} seeds, deviation {100 * deviation:.2f}"
        chance = run.results[0].majority
        note += f"; always the most frequent class: {percent(chance)}"
        entries.append((f"{part} accuracy", percent(mean), note))
        entries.append(("Parameters", f"{run.results[0].parameters:,}", ""))
    elif run.begun:
        column = f"{run.config.evaluate_on}_accuracy"  # not in every epoch's row
        shares = [[r[column] for r in seed.epochs if column in r] for seed in run.begun]
        if all(shares):
            mean, _ = mean_deviation(np.array([own[-1] for own in shares]))
            entries.append((f"{part} accuracy", percent(mean), "so far"))
    if run.begun:
        epochs = f"{run.epochs} of {run.config.epochs}"
        entries.append(("Epochs", epochs, "; ".join(run.extended)))
    return html.facts([*entries, *class_facts(run.facts), *timing_facts(run.timing)])


def _sections(run: TrainRun) -> Iterator[Section]:
    genotype = run.seeds[0].final
    if run.results:
        yield Section("result", "Result", _results([run]))
    tallies = [result.classes for result in run.results if result.classes]
    if tallies and len({tally.names for tally in tallies}) == 1:
        yield Section("classes", "Classes", classes(tallies))
    if run.begun:
        curves = train_curves(run.begun, run.config.evaluate_on)
        yield Section("progress", "Losses and accuracies", curves)
    if genotype is not None:
        yield Section("cells", "Cells", drawings(genotype))
    if run.cost is not None:
        yield Section("cost", "Cost", measured(run.cost))
    if times := timing(run.timing):
        yield Section("time", "Time", times)
    shown = configuration(recipe_to_json(run.config), recipe_to_json(TrainConfig()))
    yield Section("configuration", "Configuration", shown)
    if genotype is not None:
        file = run.seeds[0].path / "genotype.json"
        command = train_command(run.config, genotype, file)
        yield Section("reproduce", "How to reproduce", reproduce(command, run.timing))


def _missing(run: TrainRun) -> Iterator[str]:
    if not run.begun and not run.results:
        yield "Losses and accuracies: no epoch has ended yet."
    elif not run.results and run.epochs < run.config.epochs:
        yield (
            f"The result: the training is at epoch {run.epochs} of "
            f"{run.config.epochs}; its command goes on with it."
        )
    if run.seeds[0].final is None:
        yield "Cells and command: the run has no genotype.json."
    if not run.timing:
        yield "Time: the run has no timing.jsonl."


def retrainings(runs: Sequence[TrainRun]) -> Markup:
    """What the trainings in the folder of a search have come to.

    Args:
      runs: at least one; those without a result are only counted.
    """
    finished = [run for run in runs if run.results]
    tables = {"images": _results, "text": text_results}
    text = Markup("")
    for task, table in tables.items():
        own = [run for run in finished if task_of(run.config) == task]
        text += table(own) if own else Markup("")
    if len(finished) < len(runs):
        text += html.paragraph(
            f"{len(runs) - len(finished)} of {len(runs)} trainings have not come to "
            "their end.",
            "note",
        )
    return text


def _results(runs: Sequence[TrainRun]) -> Markup:
    rows = [
        (
            run.path.name,
            str(result.seed),
            {"test": "test", "valid": "validation"}[result.evaluated_on],
            str(result.last.epoch),
            f"{result.parameters:,}",
            f"{100 * result.last.top1:.2f}",
            f"{100 * result.last.top5:.2f}",
            f"{result.last.loss:.4f}",
            f"{100 * result.best.top1:.2f} ({result.best.epoch})",
        )
        for run in runs
        for result in run.results
    ]
    return html.table(
        "Accuracies in % after the last epoch. The best epoch was chosen by the images "
        "that it is measured on, so it is optimistic",
        [
            "Training",
            "Seed",
            "Images",
            "Epochs",
            "Parameters",
            "Top-1",
            "Top-5",
            "Loss",
            "Best top-1 (epoch)",
        ],
        rows,
    )
