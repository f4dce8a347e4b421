"""The report of a search."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from markupsafe import Markup

from jdarts.config import to_json
from jdarts.errors import UserError
from jdarts.loops.train_record import TrainResult
from jdarts.reports import html
from jdarts.reports.architecture import drawings, parameters
from jdarts.reports.classes import class_facts
from jdarts.reports.command import search_command
from jdarts.reports.comparison import comparison
from jdarts.reports.costs import counted, measured, total_cost
from jdarts.reports.curves import percent, search_curves
from jdarts.reports.page import Section, page
from jdarts.reports.run import Row, SearchRun, Seed
from jdarts.reports.settings import configuration, reproduce
from jdarts.reports.stages import stages
from jdarts.reports.times import timing, timing_facts
from jdarts.reports.train import retrainings
from jdarts.run_network import RunNetwork, network_of_run
from jdarts.statistics import mean_deviation

__all__ = ["search_report"]


def search_report(run: SearchRun) -> str:
    """The page of a search, whatever state it is in.

    Args:
      run: what `read_run` returned.
    """
    return page(
        kind="search",
        title=run.config.name,
        lead=_lead(run),
        top=_facts(run),
        sections=list(_sections(run)),
        missing=[*run.damage, *_missing(run)],
    )


def _lead(run: SearchRun) -> str:
    config = run.config
    what = config.described
    if len(run.seeds) > 1:
        what += f"; {len(run.seeds)} seeds at once"
    if run.finished:
        return f"Finished search: {what}."
    if not run.epochs:
        return f"Search without a finished epoch: {what}."
    return f"Search up to epoch {run.epochs} of {config.epochs}: {what}."


def _facts(run: SearchRun) -> Markup:
    ended = [seed.epochs[-1] for seed in run.begun]
    entries = [*_trained(run), *_known(run)]
    if ended and "supernet_perplexity" in ended[0]:
        entries.append(_perplexity(ended))
    elif ended:
        accuracies = np.array([row["supernet_accuracy"] for row in ended])
        mean, deviation = mean_deviation(accuracies)
        note = "on the validation half"
        if deviation is not None:
            note = f"mean of {len(ended)} seeds, deviation {100 * deviation:.2f}"
        if "majority_accuracy" in ended[0]:
            chance = np.mean([row["majority_accuracy"] for row in ended])
            note += f"; always the most frequent class: {percent(float(chance))}"
        entries.append(("Supernet accuracy", percent(mean), note))
    if ended:
        steps = min(row["step"] for row in ended)
        epochs = f"{run.epochs} of {run.config.epochs}"
        entries.append(("Epochs", epochs, "; ".join([f"{steps} steps", *run.extended])))
    early = [row for row in ended if "result_epoch" in row]
    if early:
        results = sorted({row["result_epoch"] for row in early})
        shown = ", ".join(map(str, results))
        which = "epoch" if len(results) == 1 else "epochs"
        entries.append(
            (
                "Stopped early",
                f"{len(early)} of {len(ended)}" if len(ended) > 1 else "yes",
                f"by the curvature; result: genotype of {which} {shown}",
            )
        )
    return html.facts([*entries, *class_facts(run.facts), *timing_facts(run.timing)])


def _trained(run: SearchRun) -> Iterator[tuple[str, str, str]]:
    """What the found cells are worth when they are trained: by recipe and part of the
    data."""
    found: dict[tuple[str, str], list[float]] = {}
    finals = [seed.final for seed in run.seeds]  # cannot be hashed
    for training in run.trainings:
        for result in training.results:
            if result.genotype not in finals:
                continue
            if isinstance(result, TrainResult):
                key = {"test": "Test", "valid": "Validation"}[result.evaluated_on]
                value = result.last.top1
                head = f"{key} accuracy of the found cell"
            else:
                head, value = (
                    "Test perplexity of the found cell",
                    result.test["perplexity"],
                )
            found.setdefault((head, training.config.name), []).append(value)
    for (head, name), values in found.items():
        mean, deviation = mean_deviation(np.array(values))
        share = "accuracy" in head
        note = f"trained by {name}"
        if deviation is not None:
            spread = 100 * deviation if share else deviation
            note += f"; mean of {len(values)} trainings, deviation {spread:.2f}"
        yield head, percent(mean) if share else f"{mean:.2f}", note


def _known(run: SearchRun) -> Iterator[tuple[str, str, str]]:
    """The true accuracy of the derived cells, by a table of trained ones."""
    rows = [seed.result_row for seed in run.begun]
    if not rows or not all("table_test_accuracy" in row for row in rows):
        return
    for head, column, note in (
        (
            "True test accuracy",
            "table_test_accuracy",
            "of the derived cell, by the table",
        ),
        ("Regret", "regret", "below the best cell of the table"),
    ):
        mean, deviation = mean_deviation(np.array([row[column] for row in rows]))
        if deviation is not None:
            note += f"; mean of {len(rows)} seeds, deviation {100 * deviation:.2f}"
        chance = {"regret": "random_regret"}.get(column, "table_mean_test_accuracy")
        if chance in rows[0]:
            note += f"; mean random cell: {percent(rows[0][chance])}"
        yield head, percent(mean), note


def _perplexity(ended: list[Row]) -> tuple[str, str, str]:
    found = np.array([row["supernet_perplexity"] for row in ended])
    mean, deviation = mean_deviation(found)
    note = "on the validation text"
    if deviation is not None:
        note = f"mean of {len(ended)} seeds, deviation {deviation:.2f}"
    counted = (
        f"{n}s: {ended[0][f'{n}_perplexity']:.2f}" for n in ("unigram", "bigram")
    )
    return "Supernet perplexity", f"{mean:.2f}", f"{note}; {', '.join(counted)}"


def _sections(run: SearchRun) -> Iterator[Section]:
    several = len(run.seeds) > 1
    begun = run.begun
    if several and begun:
        yield Section("seeds", "Seeds", _seed_table(begun, _network(run)))
    if not several and run.seeds[0].genotype is not None:
        yield Section("cells", "Cells", _cells(run, run.seeds[0]))
    if begun:
        yield Section("progress", "Losses and accuracies", search_curves(begun))
    if not several and run.seeds[0].arch:
        body = parameters(run.seeds[0], run.space)
        yield Section("architecture", "Architecture parameters", body)
    if run.stages:
        yield Section("stages", "Stages", stages(run))
    for seed in run.seeds if several else []:
        if seed.genotype is not None:
            yield Section(f"seed-{seed.seed}", f"Seed {seed.seed}", _seed(run, seed))
    if run.trainings:
        yield Section("training", "Retraining", retrainings(run.trainings))
    for i, other in enumerate(run.comparisons):
        if other.found is not None:
            sentence = html.paragraph(other.found["sentence"])
            body = sentence + comparison(other.found)
            yield Section(f"comparison-{i}", "Comparison with chance", body)
    if not several and (cost := _cost(run)):
        yield Section("cost", "Cost", cost)
    if times := timing(run.timing):
        yield Section("time", "Time", times)
    defaults = dataclasses.replace(
        type(run.config)().with_method(type(run.config.method)()), seed=None
    )
    yield Section(
        "configuration",
        "Configuration",
        configuration(to_json(run.config), to_json(defaults)),
    )
    command = search_command(run.config)
    yield Section("reproduce", "How to reproduce", reproduce(command, run.timing))


def _cells(run: SearchRun, seed: Seed) -> Markup:
    if seed.genotype is None:
        return Markup("")
    note = Markup("")
    if seed.final is None:
        epoch = max(seed.genotypes)
        note = html.paragraph(
            f"As derived after epoch {epoch}; the search has not come to its end.",
            "note",
        )
    return note + drawings(seed.genotype)


def _network(run: SearchRun) -> RunNetwork | None:
    """None also where the images' size is damaged, which `damage` says."""
    try:
        return network_of_run(run.path)
    except UserError:
        return None


def _cost(run: SearchRun) -> Markup:
    """Nothing of a genotype that makes no network of the usual form."""
    genotype, text = run.seeds[0].genotype, Markup("")
    network = _network(run)
    if network is not None and genotype is not None:
        if total_cost(genotype, network) is not None:
            text = counted(genotype, network)
    if run.cost is not None:
        return text + measured(run.cost)
    hint = (
        "python -m jdarts.cost RUN --latency --json RUN/cost.json measures memory and "
        "times; "
    )
    return text and text + html.paragraph(f"{hint}the next report shows them.", "note")


def _seed(run: SearchRun, seed: Seed) -> Markup:
    """One of several seeds."""
    body = _cells(run, seed)
    if seed.arch:
        body += html.details(
            f"Architecture parameters of seed {seed.seed}",
            parameters(seed, run.space),
        )
    return body


def _seed_table(seeds: list[Seed], network: RunNetwork | None) -> Markup:
    kinds = [n.removeprefix("skips_") for n in seeds[0].epochs[-1] if "skips_" in n]
    rows, text = [], "supernet_perplexity" in seeds[0].epochs[-1]
    sizes = f"; cost of a network of {network.described}" if network else ""
    for seed in seeds:
        last = seed.epochs[-1]
        whole = None if seed.genotype is None else total_cost(seed.genotype, network)
        cost = ("", "")
        if whole is not None:
            millions = [count / 1e6 for count in whole]
            cost = (f"{millions[0]:.4g}", f"{millions[1]:.4g}")
        rows.append(
            (
                html.link(f"seed-{seed.seed}", str(seed.seed)),
                *([f"{last['supernet_perplexity']:.2f}"] if text else []),
                f"{100 * last['supernet_accuracy']:.2f}",
                f"{last['supernet_loss']:.4f}",
                f"{last['epoch_train_loss']:.4f}",
                *(_skips(seed, kind) for kind in kinds),
                *cost,
            )
        )
    return html.table(
        "Each seed at its end: the supernet on the validation half, and the number of "
        "skip connections in the derived cells" + sizes,
        [
            "Seed",
            *(["Perplexity"] if text else []),
            "Accuracy in %",
            "Loss",
            "Training loss",
            *(f"Skips, {kind}" for kind in kinds),
            "Parameters, M",
            "Multiply-adds, M",
        ],
        rows,
    )


def _skips(seed: Seed, kind: str) -> str:
    return str(seed.result_row.get(f"skips_{kind}", "unknown"))


def _missing(run: SearchRun) -> Iterator[str]:
    if not any(seed.epochs for seed in run.seeds):
        if not any(seed.genotype for seed in run.seeds):
            yield "Losses, accuracies and cells: no epoch has ended yet."
    elif not run.finished and run.epochs < run.config.epochs:
        yield (
            f"The end of the search: it is at epoch {run.epochs} of "
            f"{run.config.epochs}; the command below goes on with it."
        )
    if any(seed.epochs and not seed.arch for seed in run.seeds):
        yield "Architecture parameters: the run has no arch.jsonl (made before it was)."
    if any(other.found is None for other in run.comparisons):
        yield (
            "The outcome of a comparison: no compare.json; not all networks are "
            "trained yet."
        )
    if not run.timing:
        yield "Time: the run has no timing.jsonl."
