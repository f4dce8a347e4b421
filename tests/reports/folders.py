"""Run folders as searches, trainings and comparisons leave them, without any."""

import dataclasses
import json

import numpy as np

from jdarts import ZOO, derive_genotype, get_space
from jdarts.config import SearchConfig, load_config, to_json
from jdarts.io import GenotypeLog, MetricsLog, write_json
from jdarts.loops.text_result import TextResult, text_results_json
from jdarts.loops.train_record import EpochScore, TrainResult, results_json
from jdarts.train_config import TrainConfig, load_recipe, recipe_to_json

STEPS = 4  # an epoch


def config(**changes) -> SearchConfig:
    changes = {"name": "tiny", "epochs": 3, **changes}
    return dataclasses.replace(load_config("smoke"), **changes)


def make_run(folder, epochs=3, finished=True, timing=True, settings=None):
    """A search after `epochs` epochs.

    Returns:
      The architectures that were written: seed to one ``{"alpha", "mix"}`` an epoch.
    """
    settings = config() if settings is None else settings
    folder.mkdir(parents=True)
    write_json(folder / "config.json", to_json(settings))
    if timing:
        make_timing(folder, epochs)
    archs = {}
    for seed in settings.all_seeds:
        own = folder
        if settings.seeds is not None:
            own = folder / f"seed_{seed}"
            own.mkdir()
            (own / "part.txt").write_text("")
            write_json(own / "config.json", to_json(settings.with_seed(seed)))
        archs[seed] = make_seed(own, settings.space, seed, epochs, finished)
    return archs


def make_seed(folder, space, seed, epochs, finished):
    rng, space = np.random.default_rng(seed), get_space(space)
    metrics = MetricsLog(folder / "metrics.jsonl")
    log = MetricsLog(folder / "arch.jsonl")
    genotypes = GenotypeLog(folder / "genotype.json")
    alpha = {
        kind: rng.normal(size=(len(spec.edges), len(spec.primitives)))
        for kind, spec in space.cells.items()
    }
    archs = []
    for epoch in range(1, epochs + 1):
        alpha = {k: a + 0.3 * rng.normal(size=a.shape) for k, a in alpha.items()}
        mix = {k: np.exp(a) / np.exp(a).sum(1, keepdims=True) for k, a in alpha.items()}
        archs.append({"alpha": alpha, "mix": mix})
        for step in range((epoch - 1) * STEPS + 1, epoch * STEPS + 1):
            values = {"train_loss": 2 / step, "valid_loss": 3 / step}
            values |= {"gradient_norm": 1 / step, "arch_gradient_norm": 0.1 / step}
            metrics.append({"kind": "step", "step": step, **values})
        genotype = derive_genotype(space, mix)
        place = {"kind": "epoch", "step": epoch * STEPS, "epoch": epoch}
        metrics.append(place | epoch_row(epoch, seed, genotype))
        plain = {k: {c: a.tolist() for c, a in v.items()} for k, v in archs[-1].items()}
        log.append({**place, "beta": {}, **plain})
        genotypes.record(epoch, genotype)
    if finished:
        genotypes.finish(genotype)
    return archs


def epoch_row(epoch, seed, genotype):
    row = {
        "epoch_train_loss": 2 / epoch,
        "epoch_train_accuracy": 1 - 0.5 / epoch,
        "epoch_valid_loss": 3 / epoch,
        "supernet_loss": 4 / epoch,
        "supernet_accuracy": 0.75 + seed / 100,
        "majority_accuracy": 0.125,
    }
    for kind, cell in genotype.cells.items():
        names = [connection.primitive for connection in cell.connections]
        row[f"skips_{kind}"] = names.count("skip_connect")
    return row


def make_timing(folder, epochs):
    log = MetricsLog(folder / "timing.jsonl")
    start = {"jdarts": "0.1.0", "jax": "0.10.2", "platform": "cpu", "device": "cpu"}
    seconds = {"devices": 1, "data_seconds": 1.0, "init_seconds": 2.0}
    log.append({"kind": "start", "step": 0, **start, **seconds})
    for program in ("search step", "validation"):
        seconds = {"trace_seconds": 5.0, "lower_seconds": 1.0, "compile_seconds": 10.0}
        row = {"kind": "compile", "step": 0, "program": program, "temp_bytes": 2**21}
        log.append(row | seconds)
    for epoch in range(1, epochs + 1):
        row = {"kind": "part", "step": epoch * STEPS, "epoch": epoch, "steps": STEPS}
        seconds = {"steps_seconds": 8.0, "evaluation_seconds": 0.5}
        log.append(row | seconds)


def recipe(**changes) -> TrainConfig:
    changes = {"name": "again", "epochs": 2, **changes}
    return dataclasses.replace(load_recipe("train_digits"), **changes)


def make_training(folder, epochs=2, finished=True, settings=None):
    """A training of a small genotype after `epochs` epochs."""
    settings = recipe() if settings is None else settings
    cell = derive_genotype(
        get_space("toy"), {k: np.eye(5, 3) for k in ("normal", "reduce")}
    )
    folder.mkdir(parents=True)
    write_json(folder / "config.json", recipe_to_json(settings, cell))
    make_timing(folder, epochs)
    results = []
    for seed in settings.all_seeds:
        own = folder
        if settings.seeds is not None:
            own = folder / f"seed_{seed}"
            own.mkdir()
            (own / "part.txt").write_text("")
            described = recipe_to_json(settings.with_seed(seed), cell)
            write_json(own / "config.json", described)
        metrics = MetricsLog(own / "metrics.jsonl")
        GenotypeLog(own / "genotype.json").finish(cell)
        for epoch in range(1, epochs + 1):
            step = epoch * STEPS
            values = {"train_loss": 2 / epoch, "gradient_norm": 1.0, "lr": 0.1 / epoch}
            metrics.append({"kind": "step", "step": step, **values})
            row = {"epoch_train_loss": 2 / epoch, "epoch_train_accuracy": 0.5}
            row |= {"test_loss": 3 / epoch, "test_accuracy": 0.25 * epoch + seed / 100}
            row |= {"test_top5": 0.875, "best_test_accuracy": 0.25 * epoch}
            metrics.append({"kind": "epoch", "step": step, "epoch": epoch, **row})
        score = EpochScore(epochs, 1.5, 0.5 + seed / 100, 0.875)
        result = TrainResult(
            "again", seed, cell, 4321, "test", 360, 0.125, step, score, score
        )
        results.append(result)
    if finished:
        write_json(folder / "result.json", results_json("again", results))


def make_text_training(folder, epochs=2):
    """A finished training of a published recurrent cell, on a text."""
    settings = dataclasses.replace(load_recipe("train_topics"), name="words", epochs=2)
    cell = ZOO["RNN_DARTS_V2"]
    folder.mkdir(parents=True)
    write_json(folder / "config.json", recipe_to_json(settings, cell))
    make_timing(folder, epochs)
    metrics = MetricsLog(folder / "metrics.jsonl")
    GenotypeLog(folder / "genotype.json").finish(cell)
    counted = {"unigram_perplexity": 20.0, "bigram_perplexity": 10.0}
    for epoch in range(1, epochs + 1):
        step = epoch * STEPS
        values = {"train_loss": 2 / epoch, "gradient_norm": 1.0, "lr": 0.1 / epoch}
        metrics.append({"kind": "step", "step": step, **values})
        row = {"train_perplexity": 9.0 / epoch, "valid_perplexity": 8.0 / epoch}
        row = {"kind": "epoch", "step": step, "epoch": epoch, **row, **counted}
        metrics.append(row)
    score = {"epoch": epochs, "perplexity": 4.0}
    result = TextResult(
        *("words", 1267, cell, 4321, "topics", step, score, score, 1),
        {"perplexity": 5.0, "tokens": 99},
        {"valid": counted, "test": counted},
    )
    write_json(folder / "result.json", text_results_json("words", [result]))


def make_comparison(folder, finished=True):
    """Two searches against two random genotypes each, by hand."""
    folder.mkdir(parents=True)
    config = {"kind": "compare", "found": [], "random": 4, "match": "parameters"}
    write_json(folder / "config.json", {**config, "train": {"epochs": 2}})
    if not finished:
        return
    sizes = {"parameters": 4321, "multiply_adds": 2_500_000}
    found = [[0.5, 0.75], [0.625, 0.625]]
    random = [[[0.25, 0.25], [0.5, 0.25]], [[0.125, 0.375], [0.25, 0.5]]]
    searches = [
        {
            "path": f"runs/s{i}",
            "seed": i,
            **sizes,
            "accuracies": found[i],
            "random": [
                {"network": f"random_{i}_{j}", **sizes, "accuracies": accuracies}
                for j, accuracies in enumerate(random[i])
            ],
        }
        for i in range(2)
    ]
    side = {"mean": 0.625, "of_means": 0.09, "between": 0.03, "within": 0.125}
    interval = {"low": 0.5, "high": 0.75}
    compared = {"difference": 0.3125, "interval": interval, "effect": 2.5}
    compared |= {"wins": 4.0, "pairs": 4, "p": 0.111, "smallest_p": 0.05}
    progress = [
        {
            "epoch": epoch,
            "mean": mean,
            "searches": [{"accuracies": [mean - 0.1]}, {"accuracies": [mean + 0.1]}],
        }
        for epoch, mean in ((1, 0.375), (5, 0.5))
    ]
    outcome = {
        "verdict": "cannot tell",
        "sentence": "Cannot tell & so on.",
        "comparison": compared,
        "found": {**side, "interval": interval},
        "random": {**side, "mean": 0.3125, "interval": None},
        "searches": searches,
        "progress": progress,
    }
    write_json(folder / "compare.json", {**config, **outcome})


def add_columns(folder, columns):
    """Gives every epoch of a run more metrics: ``columns(epoch, folder)``."""
    for file in folder.rglob("metrics.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        for row in rows:
            if row["kind"] == "epoch":
                row |= columns(row["epoch"], file.parent)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
