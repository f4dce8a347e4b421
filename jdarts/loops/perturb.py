"""How a perturbation proceeds: rounds of measuring, deciding, tuning, on the devices.

Two programs are compiled, as of a search: a chunk of weight steps, and an evaluation of
the supernet. Mixing weights are data of both, so they serve every op of every edge.
Knows no method by name.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jdarts import compile, tree
from jdarts.config import SearchConfig
from jdarts.errors import RunError, UserError
from jdarts.io import Checkpoints
from jdarts.limits import check_numbers
from jdarts.loops.pinned import check_pinned, pinned_data
from jdarts.loops.programs import abstract, compiled_text, evaluate
from jdarts.loops.setup import Setup
from jdarts.methods import SearchState
from jdarts.methods.fixed_mix import fixed_mix
from jdarts.methods.optimizers import check_value
from jdarts.perturbation import Criterion, Perturbation
from jdarts.phase import phased
from jdarts.problem import Evaluation
from jdarts.spaces import SearchSpace, get_space
from jdarts.types import Arch

__all__ = ["PerturbConfig", "perturb"]

_TUNE = 1  # folded into the run's key: other batches than those of the search
_CHUNK = 64  # steps between two looks at the loss


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerturbConfig:
    """Settings of a perturbation; defaults as published (DARTS-PT, ICLR 2021)."""

    epochs_between: int = 5
    """Epochs that tune the supernet's weights after each round of decisions but the
    last, >= 0."""
    lr: float = 0.0025
    """Learning rate of the first of these epochs, > 0."""
    lr_min: float | None = None
    """Where its cosine ends; in [0, lr]. None: the rate stays as it is, as in the
    authors' code, which makes a cosine to 0.001 but never steps it."""
    criterion: Criterion = "accuracy"
    """What hurts most: the lowest accuracy (where equal, the highest loss), or the
    highest loss."""

    def __post_init__(self) -> None:
        """Raises a UserError that names the field."""
        check_numbers(self)
        if self.epochs_between < 0:
            raise UserError(
                f"--epochs-between: {self.epochs_between}; expected a whole number >= 0"
            )
        check_value("--lr", self.lr, self.lr > 0, "more than 0")
        if self.lr_min is not None:
            valid = 0 <= self.lr_min <= self.lr
            check_value("--lr-min", self.lr_min, valid, "0 to lr")
        for name in ("lr", "lr_min"):
            default = type(self).__dataclass_fields__[name].default
            if self.epochs_between == 0 and getattr(self, name) != default:
                raise UserError(
                    f"--{name.replace('_', '-')}: has no effect with --epochs-between "
                    "0; expected 1 epoch or more"
                )


def perturb(
    config: SearchConfig,
    options: PerturbConfig,
    start: Setup,
    searched: Path,
    checkpoints: Path,
    say: Callable[[str], None],
) -> list[Perturbation]:
    """Decides everything, from the last checkpoint of an earlier call on.

    Args:
      config: of the search.
      options: the settings.
      start: what `setup` made of the configuration.
      searched: the search's folder of checkpoints; the newest one is taken.
      checkpoints: the folder of this perturbation's own.
      say: prints one line.

    Returns:
      One a seed, with all decisions.

    Raises:
      UserError: if there is no checkpoint, or one of another search or with other
        settings, or the search's mixing weights leave nothing to choose.
      RunError: if a loss is not finite.
    """
    with Checkpoints(searched) as saved:
        found = saved.restore(abstract(start.state))
    if found is None:
        raise UserError(f"{searched}: no checkpoint; expected those of the search")
    before = found.meta.get("pinned", {})
    now = pinned_data(config.data.dir, start.images)
    check_pinned(before, now, searched.parent, "the images of the search")
    space = get_space(config.space)
    archs = start.seeds.each(found.state.arch)
    mixes = [jax.device_get(start.method.weights(arch)) for arch in archs]
    check_mix(space, mixes[0], searched.parent)
    check_partial(space, start.network.partial.k, searched.parent)
    own = [
        Perturbation(space, mix, seed, options.criterion, start.kinds)
        for seed, mix in zip(config.all_seeds, mixes, strict=True)
    ]
    meta = {"options": dataclasses.asdict(options), "search_step": found.step}
    with Checkpoints(checkpoints) as kept:
        run = Rounds(config, options, start, found.state, own, say)
        run.resume(kept, meta)
        run.proceed(kept, meta)
    return own


def check_mix(space: SearchSpace, mix: dict[str, np.ndarray], where: Path) -> None:
    """Raises a UserError unless some edge mixes several ops."""
    for kind, spec in space.cells.items():
        columns = spec.op_columns
        if ((mix[kind][:, columns] > 0).sum(axis=1) > 1).any():
            return
    raise UserError(
        f"{where}: its mixing weights leave at most one op on each edge, so there is "
        "nothing to choose by perturbation; expected a search by a method that mixes "
        "ops, as darts"
    )


def check_partial(space: SearchSpace, k: int, where: Path) -> None:
    """Raises a UserError where a missing op would take away from passed channels."""
    if k > 1 and any(
        "none" not in s.primitives or s.keep is None for s in space.cells.values()
    ):
        raise UserError(
            f"{where}: one {k}-th of the channels goes through the ops, and --space "
            f"{space.name} has no `none` for what an op leaves; expected a search of "
            "all channels, or in another space"
        )


class Rounds:
    """The rounds; all seeds answer a question at the same time."""

    def __init__(
        self,
        config: SearchConfig,
        options: PerturbConfig,
        start: Setup,
        searched: SearchState,
        own: list[Perturbation],
        say: Callable[[str], None],
    ) -> None:
        self._config, self._own, self._say = config, own, say
        self._between, self._seeds = options.epochs_between, start.seeds
        self._total, self._round = len(own[0].rounds), 0
        method: Any = config.method
        # Schedules of the search have ended: tuning has the first decay, no drop path.
        weights = dataclasses.replace(
            method.weights,
            lr=options.lr,
            lr_min=options.lr_min,
            weight_decay_last=None,
        )
        tuning = fixed_mix(
            weights,
            get_space(config.space),
            start.network._replace(drop_rate=None),
            epochs=max(1, self._between * (self._total - 1)),
            steps_per_epoch=start.steps_per_epoch,
        )
        self._start = start._replace(method=tuning)
        # The momentum begins at 0: the optimiser is another one.
        zeros = jax.tree.map(np.zeros_like, jax.device_get(searched.w_opt))
        self._state = searched._replace(
            step=jax.device_put(
                np.zeros_like(jax.device_get(searched.step)), self._seeds.own
            ),
            arch=self._arch([p.mix for p in own]),
            w_opt=jax.device_put(zeros, self._seeds.own),
            arch_opt=(),
        )
        fold = self._seeds.map(lambda key: jax.random.fold_in(key, _TUNE), (True,))
        self._key = jax.jit(fold, out_shardings=self._seeds.own)(start.key)

    def _arch(self, mixes: list[dict[str, np.ndarray]]) -> Arch:
        """These mixing weights, one a seed, as the state holds them."""
        return jax.device_put(Arch(self._seeds.stack(mixes), {}), self._seeds.own)

    # --- resuming and saving ---

    def resume(self, kept: Checkpoints, meta: dict[str, Any]) -> None:
        """Takes the decisions, and the tuned weights, of the newest checkpoint."""
        found = kept.restore(abstract(self._state))
        if found is None:
            return
        for name, value in meta["options"].items():
            before = found.meta["options"].get(name)
            if before != value:
                raise UserError(
                    f"--{name.replace('_', '-')}: {value}, but this perturbation was "
                    f"begun with {before}; expected that, or its folder deleted"
                )
        if found.meta["search_step"] != meta["search_step"]:
            raise UserError(
                f"perturbation: begun at step {found.meta['search_step']} of the "
                f"search, which is now at step {meta['search_step']}; expected its "
                "folder deleted"
            )
        self._state, self._round = found.state, found.step
        for own, decisions in zip(self._own, found.meta["decisions"], strict=True):
            for decision in decisions:
                own.apply(decision)
        self._say(f"resuming after round {self._round}/{self._total}")

    def _save(self, kept: Checkpoints, meta: dict[str, Any]) -> None:
        if not all(self._seeds.each(self._finite(self._state.w))):
            raise self._not_finite()
        decisions = [own.decisions for own in self._own]
        kept.save(self._round, self._state, meta | {"decisions": decisions})

    def _not_finite(self) -> RunError:
        return RunError(
            f"perturbation: a loss is not finite in round {self._round + 1}; a lower "
            "--lr may help"
        )

    # --- rounds ---

    def proceed(self, kept: Checkpoints, meta: dict[str, Any]) -> None:
        """All rounds that are left."""
        if self._round == self._total:
            return
        self._compile()
        self._finite = jax.jit(self._seeds.map(tree.all_finite, (True,)))
        while self._round < self._total:
            self._decide()
            self._round += 1
            self._state = self._state._replace(
                arch=self._arch([own.mix for own in self._own])
            )
            if self._round < self._total:
                self._tune()
            self._save(kept, meta)

    def _compile(self) -> None:
        chunk, evaluation = self._start.programs(self._config)
        number, data, own = self._seeds.number(1), self._start.data, self._seeds.own
        self._evaluation = compile.compile_timed(
            evaluation, self._state, data, number, number, out_shardings=own
        )
        made = {"evaluation": self._evaluation}
        if self._between:
            self._chunk = compile.compile_timed(
                chunk,
                *(self._key, self._state, data, number),
                donate_argnums=1,
                out_shardings=own,
            )
            made["tuning step"] = self._chunk
        for name, program in made.items():
            self._say(compiled_text(name, program))

    def _decide(self) -> None:
        """The questions of a round, one after the other."""
        for questions in zip(*(p.rounds[self._round] for p in self._own), strict=True):
            asked = list(zip(self._own, questions, strict=True))
            without = [own.without(question) for own, question in asked]
            # Seeds may look at nodes with more edges and with fewer: theirs are then
            # measured again, and not read.
            found = [
                self._measure([mixes[min(i, len(mixes) - 1)] for mixes in without])
                for i in range(max(map(len, without)))
            ]
            for i, (own, question) in enumerate(asked):
                sums = [row[i] for row in found[: len(without[i])]]
                decision = own.decide(
                    question,
                    [float(s.correct) / float(s.count) for s in sums],
                    [float(s.loss) / float(s.count) for s in sums],
                )
                self._report(self._config.all_seeds[i], decision)

    def _report(self, seed: int, decision: dict[str, Any]) -> None:
        who = f"seed {seed}, " if len(self._own) > 1 else ""
        part = "edge" if "edge" in decision else "node"
        place = decision["candidates"].index(decision["kept"][0])
        kept = " and ".join(map(str, decision["kept"]))
        self._say(
            f"round {self._round + 1}/{self._total}: {who}{decision['cell']} {part} "
            f"{decision[part]} keeps {kept} (accuracy without {decision['kept'][0]} "
            f"{100 * decision['accuracy'][place]:.2f} %, loss "
            f"{decision['loss'][place]:.4f})"
        )

    @phased("evaluating")
    def _measure(self, mixes: list[dict[str, np.ndarray]]) -> list[Evaluation]:
        """Each seed's sums over its validation half, with these mixing weights."""
        state = self._state._replace(arch=self._arch(mixes))
        found = evaluate(self._evaluation, state, self._start)
        if not all(np.isfinite(sums).all() for sums in jax.tree.leaves(found)):
            raise self._not_finite()
        return found

    @phased("tuning the weights")
    def _tune(self) -> None:
        """Trains the weights for some epochs."""
        per_epoch = self._start.steps_per_epoch
        for _ in range(self._between):
            for first in range(0, per_epoch, _CHUNK):
                count = min(_CHUNK, per_epoch - first)
                self._state, log = self._chunk.call(
                    self._key, self._state, self._start.data, self._seeds.number(count)
                )
                losses = jax.device_get(log["train_loss"])[..., :count]
                if not np.isfinite(losses).all():
                    raise self._not_finite()
