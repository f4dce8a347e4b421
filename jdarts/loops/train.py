"""How a training proceeds: evaluation after every epoch, last and best."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jdarts import compile
from jdarts.errors import UserError
from jdarts.io import Checkpoints, RunFolder
from jdarts.io.data_facts import DataFacts
from jdarts.loops.pinned import pinned_data
from jdarts.loops.programs import abstract
from jdarts.loops.run import Run
from jdarts.loops.tally import Tally
from jdarts.loops.train_record import (
    EpochScore,
    TrainRecord,
    TrainResult,
    settle_genotype,
)
from jdarts.loops.train_setup import TrainSetup, train_programs, train_setup
from jdarts.train_config import TrainConfig, recipe_to_json
from jdarts.training import by_epoch
from jdarts.types import PyTree

__all__ = ["TrainSetup", "evaluate_checkpoint", "run_training", "train_setup"]


class _Training(Run[TrainRecord]):
    """The run of a training."""

    task = "train"
    program_names: tuple[str, str] = ("training step", "evaluation")
    shown = {"train_loss": "loss", "train_accuracy": "accuracy"}  # noqa: RUF012
    advice = "--optimizer.lr"

    def functions(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        return train_programs(self.config, self.start)

    def weights(self) -> PyTree:
        return self.state.w

    def rate(self, epochs: int, step: int) -> float | None:
        optimizer = self.config.optimizer
        schedule = by_epoch(optimizer, epochs, self.start.steps_per_epoch)
        return np.asarray(schedule(step)).item()

    def pinned(self) -> dict[str, str]:
        return pinned_data(self.config.data.dir, self.start.images)

    def notes(self) -> dict[str, Any]:
        images = self.start.images
        return {
            "mean": images.mean,
            "std": images.std,
            "steps_per_epoch": self.start.steps_per_epoch,
        }

    def end_epoch(self, epoch: int, whole: bool) -> str:
        """Evaluates, where that is due."""
        found = [None] * len(self.records)
        due = epoch % self.config.evaluate_every == 0
        if self.finished or due:
            with self.timing.part("evaluation"):
                found = self.evaluate()
        with self.timing.part("record"):
            rows = [
                record.end_epoch(self.step, epoch, whole, sums, due)
                for record, sums in zip(self.records, found, strict=True)
            ]
        means = {name: np.mean([row[name] for row in rows]) for name in rows[0]}
        line, part = (
            f"train loss {means['epoch_train_loss']:.4f}",
            self.config.evaluate_on,
        )
        if found[0] is None:
            return line
        return (
            f"{line}, {part} loss {means[f'{part}_loss']:.4f}, "
            f"{part} accuracy {100 * means[f'{part}_accuracy']:.2f} %"
        )


def run_training(
    config: TrainConfig,
    start: TrainSetup,
    folder: RunFolder,
    say: Callable[[str], None] = lambda line: print(line, flush=True),
) -> tuple[list[TrainResult], int]:
    """Trains, from the folder's last checkpoint on if it has one.

    Args:
      config: the configuration that the folder was opened with.
      start: what `train_setup` made of it: before the folder is opened, so that wrong
        data or settings leave no folder behind.
      folder: where everything is written; with several seeds, what is a seed's own goes
        to its own folder in it.
      say: prints one line.

    Returns:
      One result a seed, and the exit status of the signal that stopped the training
      before its end: then there are no results. 0 if it came to its end.

    Raises:
      UserError: if what the folder holds is not usable, or it cannot be written.
      RunError: if a loss is not finite.
    """
    records = _records(config, start, folder)
    for record in records:
        settle_genotype(record.folder.genotype, start.genotype)
    training = _Training(config, start, folder, records, say)
    stop = training.proceed()
    if stop.signal is not None:
        return [], stop.exit_status
    majorities = _majorities(config, start)
    results = [
        _result(config, start, record, training.step, majority)
        for record, majority in zip(records, majorities, strict=True)
    ]
    return results, 0


def evaluate_checkpoint(
    config: TrainConfig, start: TrainSetup, folder: Path
) -> list[tuple[EpochScore, Tally]]:
    """What the networks of the newest checkpoint are worth, one a seed, and their
    counts by class.

    Args:
      config: the configuration; its data may be others than those trained on, and are
        normalised as those were.
      start: what `train_setup` made of it.
      folder: the folder of the checkpoints.

    Raises:
      UserError: if there is no checkpoint, or it is of another network, or was trained
        on other classes.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected one of checkpoints")
    if (facts := DataFacts.read(folder.parent)) is not None:
        facts.check_classes(start.images, folder.parent)
    with Checkpoints(folder) as checkpoints:
        restored = checkpoints.restore(abstract(start.state))
    if restored is None:
        raise UserError(f"{folder}: holds no checkpoint; expected one of a training")
    per_epoch = restored.meta.get("steps_per_epoch", start.steps_per_epoch)
    images = start.images.normalised_by(restored.meta)
    _, evaluation = train_programs(config, start._replace(images=images))
    seeds, total = start.seeds, start.evaluations
    run = compile.jit(evaluation, out_shardings=seeds.own)
    number = lambda n: jax.device_put(np.int32(n), seeds.shared)  # noqa: E731
    found = run(restored.state, start.data, number(0), number(total))
    epoch = -(-restored.step // per_epoch)
    return [
        (
            EpochScore.of(epoch, sums),
            Tally.of(np.asarray(sums.confusion), images.class_names),
        )
        for sums in seeds.each(found)
    ]


def _records(
    config: TrainConfig, start: TrainSetup, folder: RunFolder
) -> list[TrainRecord]:
    """One a seed: in the run's folder, or of several in a folder each."""
    folders = [folder]
    if config.seeds is not None:
        folders = [
            folder.part(
                f"seed_{seed}", recipe_to_json(config.with_seed(seed), start.genotype)
            )
            for seed in config.seeds
        ]
    return [
        TrainRecord(seed, own, config.evaluate_on, start.images.class_names)
        for seed, own in zip(config.all_seeds, folders, strict=True)
    ]


def _result(
    config: TrainConfig,
    start: TrainSetup,
    record: TrainRecord,
    steps: int,
    majority: float,
) -> TrainResult:
    assert record.last is not None  # it has ended
    return TrainResult(
        name=config.name,
        seed=record.seed,
        genotype=start.genotype,
        parameters=start.parameters,
        evaluated_on=config.evaluate_on,
        images=start.valid_count,
        majority=majority,
        steps=steps,
        last=record.last,
        best=record.highest,
        classes=record.tally,
        gaps=tuple(record.gaps),
    )


def _majorities(config: TrainConfig, start: TrainSetup) -> list[float]:
    """Each seed's baseline: always the most frequent class."""
    labels = np.asarray(start.data.held_labels)
    held = [labels[indices] for indices in start.seeds.each(start.data.held)]
    return [float(np.bincount(own).max() / len(own)) for own in held]
