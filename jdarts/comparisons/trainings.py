"""Trains the networks of a comparison, each once, and goes on after a stop."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax

from jdarts.comparisons.plan import Entry, Plan
from jdarts.config_fields import renewed
from jdarts.errors import UserError
from jdarts.io import RunFolder, write_json
from jdarts.loops.train import run_training, train_setup
from jdarts.loops.train_record import TrainResult, read_results, results_json
from jdarts.train_config import TrainConfig, recipe_to_json

__all__ = ["MAY_DIFFER", "train_all"]

MAY_DIFFER = ("data.dir", "checkpoint_minutes")
"""Fields of the training that may change when a comparison goes on."""


def train_all(
    plan: Plan,
    config: TrainConfig,
    folder: Path,
    say: Callable[[str], None] = lambda line: print(line, flush=True),
) -> tuple[dict[str, list[float]], int]:
    """Trains every network of the plan that is not trained yet.

    Each has its own training folder, ``folder/NETWORK``.

    Args:
      plan: the networks.
      config: how they are trained, with one seed a retraining.
      folder: of all trainings.
      say: prints one line.

    Returns:
      For each network the accuracy after the last epoch of each retraining, in [0, 1];
      and the exit status of the signal that stopped it before the end, or 0.

    Raises:
      UserError: if a folder is not usable.
      RunError: if a loss is not finite.
    """
    accuracies: dict[str, list[float]] = {}
    for number, entry in enumerate(plan.networks.values(), 1):
        say(f"network {number} of {len(plan.networks)}: {entry.network}")
        results, stopped = _trained(entry, config, folder / entry.network)
        if stopped:
            return accuracies, stopped
        accuracies[entry.network] = [result.last.top1 for result in results]
        percent = "  ".join(f"{100 * a:.2f}" for a in accuracies[entry.network])
        say(f"{entry.network}: {results[0].evaluated_on} accuracy {percent} %")
    return accuracies, 0


def _trained(
    entry: Entry, config: TrainConfig, path: Path
) -> tuple[list[TrainResult], int]:
    """The results of a network's trainings: read, or trained now."""
    config = dataclasses.replace(config, name=entry.network)
    described = recipe_to_json(config, entry.genotype)
    if (path / "result.json").is_file():
        return _read(entry, config, path), 0
    start = train_setup(config, entry.genotype)
    with RunFolder.open(path, described, MAY_DIFFER, renew=renewed) as folder:
        results, stopped = run_training(config, start, folder, say=lambda line: None)
        if not stopped:
            write_json(folder.result, results_json(config.name, results))
    jax.clear_caches()  # no other network has these programs
    return results, stopped


def _read(entry: Entry, config: TrainConfig, path: Path) -> list[TrainResult]:
    results = read_results(path)
    seeds = tuple(result.seed for result in results)
    if results[0].genotype != entry.genotype or seeds != config.all_seeds:
        raise UserError(
            f"{path}: a training of another network or of other seeds; expected the "
            "folder of this comparison, or an empty one"
        )
    return results
