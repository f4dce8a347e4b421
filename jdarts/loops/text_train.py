"""How the training of a recurrent cell proceeds, and what it writes down."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jdarts import compile
from jdarts.errors import UserError
from jdarts.io import Checkpoints, RunFolder
from jdarts.loops.measures import perplexity
from jdarts.loops.pinned import pinned_data
from jdarts.loops.programs import abstract
from jdarts.loops.record import Record
from jdarts.loops.run import Run
from jdarts.loops.text_result import TextResult
from jdarts.loops.text_train_setup import TextTrainSetup
from jdarts.loops.train_record import settle_genotype
from jdarts.methods.optimizers import cosine_by_epoch
from jdarts.problem import Evaluation
from jdarts.text_train_config import TextTrainConfig
from jdarts.train_config import recipe_to_json
from jdarts.training.text_step import TextTrainState
from jdarts.types import PyTree

__all__ = ["run_text_training", "test_checkpoint"]


class _Record(Record):
    """The metrics of the training of one seed.

    Attributes:
      losses: on the validation text, of every whole epoch.
      averaged_from: the epoch after which averaging began.
      last: the newest score.
      returned_at: the steps at which it took the best epoch's weights again.
      best: the epoch with the lowest loss; None before the first whole one.
    """

    def __init__(
        self,
        seed: int,
        folder: RunFolder,
        baselines: dict[str, float],
        patience: int,
    ) -> None:
        super().__init__(seed, folder, ("train_loss", "train_accuracy"))
        self._baselines, self._patience = baselines, patience
        self.losses: list[float] = []
        self.averaged_from: int | None = None
        self.last: dict[str, float] = {}
        self.returned_at: list[int] = []
        self.best: dict[str, float] | None = None

    def meta(self) -> dict[str, Any]:
        names = "losses", "averaged_from", "last", "best", "returned_at"
        return super().meta() | {name: getattr(self, name) for name in names}

    def restore(self, meta: dict[str, Any]) -> None:
        super().restore(meta)
        self.losses, self.averaged_from = list(meta["losses"]), meta["averaged_from"]
        self.last, self.best = meta["last"], meta["best"]
        self.returned_at = list(meta.get("returned_at", []))

    def end_epoch(
        self, step: int, epoch: int, whole: bool, found: Evaluation
    ) -> tuple[dict[str, float], bool, bool]:
        """Writes down an epoch.

        Returns:
          The row of metrics; whether the epoch is the best so far; whether weights are
          averaged from now on.
        """
        row, loss = self.epoch_means(whole), float(found.loss) / float(found.count)
        score = {"epoch": epoch, "perplexity": perplexity(loss)}
        averaging = self.averaged_from is not None  # in what was evaluated
        self.last, improved, trigger = score, False, False
        if whole:
            improved = not self.losses or loss < min(self.losses)
            if improved:
                self.best = score
            if self.averaged_from is None and self._no_more_progress(loss):
                self.averaged_from, trigger = epoch, True
            self.losses.append(loss)
        row |= {
            "train_perplexity": perplexity(row["epoch_train_loss"]),
            "valid_loss": loss,
            "valid_perplexity": score["perplexity"],
            "valid_accuracy": float(found.correct) / float(found.count),
            "best_valid_perplexity": (self.best or score)["perplexity"],
            "averaging": float(averaging),
            **self._baselines,
        }
        kind = "epoch" if whole else "stop"
        self.metrics.append({"kind": kind, "step": step, "epoch": epoch, **row})
        return row, improved, trigger

    def _no_more_progress(self, loss: float) -> bool:
        """The non-monotonic trigger (Merity et al., ICLR 2018, algorithm 1)."""
        before = self.losses[: max(len(self.losses) - self._patience, 0)]
        return bool(before) and loss > min(before)


class _TextTraining(Run[_Record]):
    """The run of a training."""

    task = "train"
    program_names: tuple[str, str] = ("training step", "validation")
    shown = {"train_loss": "loss"}  # noqa: RUF012
    advice = "--optimizer.lr"

    def functions(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        return self.start.programs(self.config)

    def weights(self) -> PyTree:
        return self.state.w

    def rate(self, epochs: int, step: int) -> float | None:
        weights: Any = self.config.optimizer
        schedule = cosine_by_epoch(weights, epochs, self.start.steps_per_epoch)
        return np.asarray(schedule(step)).item()

    def pinned(self) -> dict[str, str]:
        return pinned_data(self.config.data.dir, self.start.text)

    def resume(self, checkpoints: Checkpoints) -> None:
        super().resume(checkpoints)
        for step in self.records[0].returned_at:
            self._draw_anew(step)

    def diverged(self, seed: int, where: str, say: Callable[[str], None]) -> None:
        """Takes the best epoch's weights and goes on from this step with other random
        numbers, as DARTS' rnn/train.py (which goes back to that epoch's number, too).

        Raises:
          RunError: before the first epoch has ended, in the first epoch after it has
            done so before, and with several seeds, which have one step in common.
        """
        record, best = self.records[seed], self.records[seed].best
        again = [self.step - self.start.steps_per_epoch < s for s in record.returned_at]
        if len(self.records) > 1 or best is None or any(again):
            return super().diverged(seed, where, say)
        record.returned_at.append(self.step)
        self.state = self._returned(self.state, np.int32(self.step))
        self._draw_anew(self.step)
        say(
            f"not finite {where}: on with the weights of epoch {best['epoch']} "
            f"(valid perplexity {best['perplexity']:.2f}), other random numbers"
        )

    def _draw_anew(self, step: int) -> None:
        """Draws all that is random by another key, which follows from the step."""
        fold = jax.jit(jax.random.fold_in, out_shardings=self.start.seeds.own)
        self.start = self.start._replace(key=fold(self.start.key, step))

    @functools.cached_property
    def _returned(self) -> Callable[..., PyTree]:
        """``returned(state, step)``: see `diverged`."""

        def returned(state: TextTrainState, step: Any) -> TextTrainState:
            def restarted(leaf: Any) -> Any:  # momentum, and counters of steps
                floating = jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating)
                return jax.numpy.full_like(leaf, 0 if floating else step)

            w, average = (jax.tree.map(jax.numpy.copy, state.best) for _ in range(2))
            return state._replace(
                step=jax.numpy.full_like(state.step, step),
                w=w,
                hidden=jax.numpy.zeros_like(state.hidden),
                opt=jax.tree.map(restarted, state.opt),
                averaged=jax.numpy.zeros_like(state.averaged),
                average=average,
            )

        own = self.start.seeds.own
        return jax.jit(returned, out_shardings=own, donate_argnums=0)

    def end_epoch(self, epoch: int, whole: bool) -> str:
        """Evaluates; keeps the best weights; begins to average them."""
        with self.timing.part("evaluation"):
            found = self.evaluate()
        with self.timing.part("record"):
            ended = [
                record.end_epoch(self.step, epoch, whole, sums)
                for record, sums in zip(self.records, found, strict=True)
            ]
        rows, improved, trigger = zip(*ended, strict=True)
        if any(improved) or any(trigger):
            self.state = self._settle(improved, trigger)
        means = {name: np.mean([row[name] for row in rows]) for name in rows[0]}
        averaged = ", averaged weights" if means["averaging"] == 1 else ""
        return (
            f"train perplexity {means['train_perplexity']:.2f}, valid perplexity "
            f"{means['valid_perplexity']:.2f}{averaged}"
        )

    @functools.cached_property
    def _settled(self) -> Callable[..., PyTree]:
        """``settled(state, improved, trigger)``: see `end_epoch`."""

        def settle(state: TextTrainState, improved: Any, trigger: Any) -> Any:
            best = jax.tree.map(
                lambda new, old: jax.numpy.where(improved, new, old),
                state.current(),
                state.best,
            )
            return state._replace(best=best, averaging=state.averaging | trigger)

        seeds = self.start.seeds
        return jax.jit(
            seeds.map(settle, (True, True, True)),
            out_shardings=seeds.own,
            donate_argnums=0,
        )

    def _settle(self, improved: Any, trigger: Any) -> PyTree:
        seeds = self.start.seeds
        flags = [
            seeds.stack([np.bool_(flag) for flag in f]) for f in (improved, trigger)
        ]
        return self._settled(self.state, *jax.device_put(flags, seeds.own))


def run_text_training(
    config: TextTrainConfig,
    start: TextTrainSetup,
    folder: RunFolder,
    say: Callable[[str], None] = lambda line: print(line, flush=True),
) -> tuple[list[TextResult], int]:
    """Trains, from the folder's last checkpoint on if it has one, and tests.

    Args:
      config: the configuration that the folder was opened with.
      start: what `text_train_setup` made of it.
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
    training = _TextTraining(config, start, folder, records, say)
    stop = training.proceed()
    if stop.signal is not None:
        return [], stop.exit_status
    state = _to_test(training.state, records[0].best)
    say(f"testing with batches of {config.test_batch}")
    return [
        _result(config, start, record, training.step, sums)
        for record, sums in zip(records, _test(config, start, state), strict=True)
    ], 0


def _to_test(state: TextTrainState, best: Any) -> TextTrainState:
    """With the last weights as the best ones, where no epoch has ended yet."""
    return state if best is not None else state._replace(best=state.w)


def _test(
    config: TextTrainConfig, start: TextTrainSetup, state: PyTree
) -> list[Evaluation]:
    run = compile.jit(start.test(config), out_shardings=start.seeds.own)
    return start.seeds.each(run(state, start.data))


def test_checkpoint(
    config: TextTrainConfig, start: TextTrainSetup, folder: Path
) -> list[dict[str, float]]:
    """What the best weights of the newest checkpoint are worth on the test text.

    Raises:
      UserError: if there is no checkpoint, or it is of another network.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected one of checkpoints")
    with Checkpoints(folder) as checkpoints:
        restored = checkpoints.restore(abstract(start.state))
    if restored is None:
        raise UserError(f"{folder}: holds no checkpoint; expected one of a training")
    seeds = restored.meta.get("seeds", [restored.meta])
    state = _to_test(restored.state, seeds[0]["best"])
    return [_tested(sums) for sums in _test(config, start, state)]


def _tested(sums: Evaluation) -> dict[str, float]:
    count = float(sums.count)
    return {
        "perplexity": perplexity(float(sums.loss) / count),
        "tokens": int(sums.count),
    }


def _records(
    config: TextTrainConfig, start: TextTrainSetup, folder: RunFolder
) -> list[_Record]:
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
        _Record(seed, own, start.baselines[0], config.patience)
        for seed, own in zip(config.all_seeds, folders, strict=True)
    ]


def _result(
    config: TextTrainConfig,
    start: TextTrainSetup,
    record: _Record,
    steps: int,
    sums: Evaluation,
) -> TextResult:
    valid, test = start.baselines
    return TextResult(
        name=config.name,
        seed=record.seed,
        genotype=start.genotype,
        parameters=start.parameters,
        text=config.data.name,
        steps=steps,
        last=record.last,
        best=record.best or record.last,
        averaged_from=record.averaged_from,
        returned_at=tuple(record.returned_at),
        test=_tested(sums),
        baselines={"valid": valid, "test": test},
        gaps=tuple(record.gaps),
    )
