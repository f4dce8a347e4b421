"""Run folders as a search leaves them, without a search."""

import dataclasses

import numpy as np

from jdarts.config import SearchConfig, load_config, to_json
from jdarts.derive import derive_genotype
from jdarts.io import GenotypeLog, MetricsLog, write_json
from jdarts.spaces import get_space

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
