"""The command that trains recurrent cells; `jdarts.train` hands over to it."""

from typing import TYPE_CHECKING

import numpy as np

from jdarts.io import RunFolder, hold, write_atomic, write_json
from jdarts.lazy import LazyModule
from jdarts.loops.text_result import TextResult, text_results_json
from jdarts.loops.text_train import run_text_training, test_checkpoint
from jdarts.loops.text_train_setup import text_train_setup
from jdarts.nets.recurrent import check_recurrent
from jdarts.text_train_config import TextTrainConfig
from jdarts.train_cli import TrainCommand
from jdarts.train_config import recipe_to_json

if TYPE_CHECKING:
    from jdarts import reports
else:
    reports = LazyModule("jdarts.reports")

__all__ = ["MAY_DIFFER", "say_stopped", "text_summary", "train_text"]

MAY_DIFFER = ("steps", "data.dir", "checkpoint_minutes")
"""What a training may change when it goes on: where the data lie, when to stop."""


def say_stopped(folder: RunFolder, status: int) -> int:
    """Says that a training was stopped by a signal; returns the exit status."""
    print(
        "stopped by a signal, everything saved; the same command goes on from "
        f"there ({folder.path})"
    )
    return status


def train_text(command: TrainCommand) -> int:
    """Trains a recurrent cell, or evaluates it; returns the exit status."""
    config, genotype = command.config, command.genotype
    assert isinstance(config, TextTrainConfig)  # by the table that leads here
    check_recurrent(genotype)
    start = text_train_setup(config, genotype, evaluates=command.eval_only)
    print(start.text.described, flush=True)
    if command.eval_only:
        with hold(command.checkpoints.parent):
            found = test_checkpoint(config, start, command.checkpoints)
        for seed, score in zip(config.all_seeds, found, strict=True):
            print(f"seed {seed}: test perplexity {score['perplexity']:.2f}")
        return 0
    described = recipe_to_json(config, genotype)
    with RunFolder.open(
        command.run_dir, described, MAY_DIFFER, command.extend
    ) as folder:
        results, stopped = run_text_training(config, start, folder)
        if stopped:
            return say_stopped(folder, stopped)
        write_json(folder.result, text_results_json(config.name, results))
        said = folder.extensions_text(start.steps_per_epoch)
        text = text_summary(results) + said
        for result in results if len(results) > 1 else []:
            part = folder.path / f"seed_{result.seed}"
            write_json(part / folder.result.name, result.to_json())
            write_atomic(part / folder.summary.name, text_summary([result]) + said)
        write_atomic(folder.summary, text)
        reports.write_report(folder.path)
        reports.renew_report(folder.path.absolute().parent)
        print(f"\n{text}\nwritten to {folder.path}", flush=True)
    return 0


def text_summary(results: list[TextResult]) -> str:
    """The results of one seed or several in words."""
    first = results[0]
    who = f"seed {first.seed}" if len(results) == 1 else f"{len(results)} seeds"
    lines = [
        f"training '{first.name}' on '{first.text}': {first.steps} steps, {who}, "
        f"{first.parameters:,} parameters"
    ]
    if len(results) == 1:
        since = first.averaged_from
        how = f", weights averaged after epoch {since}" if since else ""
        lines += [
            f"test perplexity: {first.test['perplexity']:.2f} (weights of the epoch "
            "with the best validation)",
            f"validation perplexity: {first.best['perplexity']:.2f} after epoch "
            f"{first.best['epoch']}, {first.last['perplexity']:.2f} at the end{how}",
        ]
        lines += [
            f"not finite after step {step}: went on with the weights of the best epoch"
            for step in first.returned_at
        ]
    else:
        found = [[r.test["perplexity"], r.best["perplexity"]] for r in results]
        figures = np.array(found)
        mean, deviation = figures.mean(axis=0), figures.std(axis=0, ddof=1)
        rows = [(str(r.seed), row) for r, row in zip(results, figures, strict=True)]
        rows += [("mean", mean), ("std", deviation)]
        lines += ["perplexities (std: of a sample)", "", "seed    test   valid"]
        lines += [f"{name:>4} {row[0]:7.2f} {row[1]:7.2f}" for name, row in rows]
        lines.append("")
    counted = first.baselines["test"]
    lines.append(
        f"counted, on the test text: unigrams {counted['unigram_perplexity']:.2f}, "
        f"bigrams {counted['bigram_perplexity']:.2f}"
    )
    lines += [f"incomplete: {gap}" for result in results for gap in result.gaps]
    return "\n".join(lines) + "\n"
