"""How a search proceeds: epochs of compiled chunks, checkpoints, validation, genotypes.

Knows no method by name.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdarts import compile, sharding, tree
from jdarts.config import SearchConfig
from jdarts.data import (
    Images,
    augment_spec,
    load,
    steps_per_epoch,
    train_valid_split,
)
from jdarts.errors import RunError, UserError
from jdarts.io import Checkpoints, GenotypeLog, MetricsLog, Progress, RunFolder
from jdarts.loops.chunk import MAX_STEPS, DeviceData, make_chunk, make_evaluation
from jdarts.loops.stop import StopRequest
from jdarts.methods import SearchMethod, SearchState, build_method
from jdarts.nets.network import COMPUTE_DTYPES, supernet
from jdarts.problem import Evaluation
from jdarts.spaces import Genotype, get_space

__all__ = ["SearchResult", "Setup", "run_search", "setup"]

_CHUNK_SECONDS = 2.0  # between two reports; a signal waits as long, or for one step


class Setup(NamedTuple):
    """A search, ready to be compiled.

    Attributes:
      method: the search method.
      images: the data set.
      data: the training part, on the devices.
      state: the start of the search, on the devices; the search donates it.
      key: the run's key, on the devices.
      steps_per_epoch: steps in one epoch.
      mesh: the devices.
    """

    method: SearchMethod
    images: Images
    data: DeviceData
    state: SearchState
    key: jax.Array
    steps_per_epoch: int
    mesh: jax.sharding.Mesh


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """How a search ended.

    Attributes:
      genotype: the derived architecture.
      accuracy: of the supernet on the validation half, in [0, 1].
      majority: accuracy of always answering that half's most frequent class.
      steps: steps done.
      stopped: exit status of the signal that stopped the search before its end; 0 if
        it came to its end.
    """

    genotype: Genotype
    accuracy: float | None
    majority: float
    steps: int
    stopped: int = 0


def setup(config: SearchConfig, devices: list[jax.Device] | None = None) -> Setup:
    """Loads the data, builds the method and its start, and places them on the devices.

    Args:
      config: the configuration.
      devices: where to search; by default on all devices.

    Raises:
      UserError: if the data are missing or wrong, or the parts do not fit each other.
    """
    mesh = sharding.make_mesh(devices)
    sharding.check_divides(config.batch_size, mesh)
    images = load(config.data)
    train, valid = train_valid_split(
        images.train_labels,
        config.data.valid_fraction,
        config.data.stratified,
        config.seed,
    )
    per_epoch = _steps_per_epoch(config, len(train), len(valid))
    _check_steps(config, per_epoch)
    space = get_space(config.space)
    network = supernet(
        space,
        channels=config.channels,
        layers=config.layers,
        classes=images.num_classes,
        remat=config.remat,
        dtype=COMPUTE_DTYPES[config.compute_dtype],
    )
    method = build_method(
        config.method, space, network, epochs=config.epochs, steps_per_epoch=per_epoch
    )
    init_key, key = jax.random.split(jax.random.key(config.seed))
    shape = (config.batch_size, *images.image_shape)
    state = method.init(init_key, jnp.zeros(shape, jnp.result_type(float)))
    everywhere = sharding.replicated(mesh)
    arrays = (images.train_images, images.train_labels, train, valid)
    data = DeviceData(*jax.device_put(arrays, everywhere))
    state, key = jax.device_put((state, key), everywhere)
    if method.train_batches > per_epoch:
        raise UserError(
            f"--method.hypergradient.steps: {method.train_batches} virtual steps, but "
            f"an epoch has {per_epoch} batches; expected at most {per_epoch}"
        )
    return Setup(method, images, data, state, key, per_epoch, mesh)


def _steps_per_epoch(config: SearchConfig, train: int, valid: int) -> int:
    for part, count in (("weights", train), ("architecture", valid)):
        if config.batch_size > count:
            raise UserError(
                f"--batch-size: {config.batch_size} is more than the {count} images "
                f"that train the {part}; expected at most {count}"
            )
    return steps_per_epoch(train, config.batch_size)


def _check_steps(config: SearchConfig, per_epoch: int) -> None:
    total = config.epochs * per_epoch
    if config.steps is not None and config.steps > total:
        raise UserError(
            f"--steps: {config.steps} is more than the {total} steps of "
            f"{config.epochs} epochs; expected at most {total}"
        )


class _Search:
    """One run: what its steps share."""

    def __init__(
        self,
        config: SearchConfig,
        start: Setup,
        folder: RunFolder,
        say: Callable[[str], None],
    ) -> None:
        self.config, self.folder, self.say = config, folder, say
        self.setup, self.state = start, start.state
        self.last_step = config.steps or config.epochs * start.steps_per_epoch
        self.metrics = MetricsLog(folder.metrics)
        self.genotypes = GenotypeLog(folder.genotype)
        self.sums: dict[str, float] = {}  # over the epoch, for its mean losses
        self.step = 0
        self.accuracy: float | None = None
        self.evaluated = -1  # the step at which the accuracy was measured
        self._saved = time.monotonic()
        self._finite = jax.jit(tree.all_finite)

    # --- compiling ---

    def compile(self) -> None:
        s, config = self.setup, self.config
        spec = augment_spec(config.data, s.images)
        chunk = make_chunk(
            s.method,
            spec,
            s.mesh,
            batch_size=config.batch_size,
            steps_per_epoch=s.steps_per_epoch,
        )
        evaluation = make_evaluation(
            s.method, spec, s.mesh, batch_size=config.batch_size
        )
        everywhere = sharding.replicated(s.mesh)
        number = jax.device_put(np.int32(1), everywhere)
        self._number = lambda n: jax.device_put(np.int32(n), everywhere)
        self._chunk = compile.compile_timed(
            chunk,
            s.key,
            s.state,
            s.data,
            number,
            donate_argnums=1,
            out_shardings=everywhere,
        )
        self._evaluation = compile.compile_timed(
            evaluation, s.state, s.data, number, number, out_shardings=everywhere
        )
        for name, made in (
            ("search step", self._chunk),
            ("validation", self._evaluation),
        ):
            memory = made.temp_bytes
            self.say(
                f"compiled {name}: trace {made.trace_seconds:.1f} s, compile "
                f"{made.compile_seconds:.1f} s"
                + (f", memory {memory / 2**20:.0f} MiB" if memory else "")
            )

    # --- resuming and saving ---

    def resume(self, checkpoints: Checkpoints) -> None:
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
            self.setup.state,
        )
        restored = checkpoints.restore(target)
        if restored is not None:
            self.state, self.step = restored.state, restored.step
            self.sums = restored.meta["sums"]
            self.accuracy = restored.meta["accuracy"]
            self.evaluated = restored.meta["evaluated"]
            self.say(f"resuming {self.folder.path} at step {self.step}")
        if self.step > self.last_step:
            raise UserError(
                f"--steps: {self.last_step}; {self.folder.path} is already at step "
                f"{self.step}; expected at least that"
            )
        self.metrics.truncate_after(self.step)
        if not self.finished:
            self.folder.remove_results()
            self.genotypes.truncate_after(self.step // self.setup.steps_per_epoch)

    def save(self, checkpoints: Checkpoints) -> None:
        if not self._finite((self.state.w, self.state.arch)):
            raise self._not_finite(f"after step {self.step} (in the weights)")
        meta = {
            "sums": self.sums,
            "accuracy": self.accuracy,
            "evaluated": self.evaluated,
        }
        checkpoints.save(self.step, self.state, meta)
        self._saved = time.monotonic()

    # --- stepping ---

    @property
    def finished(self) -> bool:
        return self.step >= self.last_step

    def run(self, checkpoints: Checkpoints, stop: StopRequest) -> None:
        per_epoch = self.setup.steps_per_epoch
        self._saved, length = time.monotonic(), 1
        if self.finished:  # stopped by a signal just where it now has to end
            self._end_epoch(self.say)
            self.save(checkpoints)
        with Progress("search", self.last_step, self.step) as progress:
            while not self.finished and stop.signal is None:
                epoch_end = (self.step // per_epoch + 1) * per_epoch
                count = min(length, epoch_end - self.step, self.last_step - self.step)
                length = self._advance(count, progress)
                if self.step == epoch_end or self.finished:
                    self._end_epoch(progress.print)
                    self.save(checkpoints)
                elif self._due():
                    self.save(checkpoints)
        if stop.signal is not None:
            self.save(checkpoints)

    def _due(self) -> bool:
        minutes = (time.monotonic() - self._saved) / 60
        return minutes >= self.config.checkpoint_minutes

    def _advance(self, count: int, progress: Progress) -> int:
        """Does `count` steps; returns how many the next chunk should have."""
        start = time.monotonic()
        self.state, device_log = self._chunk.call(
            self.setup.key, self.state, self.setup.data, self._number(count)
        )
        log = {k: np.asarray(v)[:count] for k, v in jax.device_get(device_log).items()}
        seconds = time.monotonic() - start
        finite = np.all([np.isfinite(values) for values in log.values()], axis=0)
        good = count if finite.all() else int(np.argmin(finite))
        for i in range(good):
            row = {name: float(values[i]) for name, values in log.items()}
            self.step += 1
            for name in ("train_loss", "train_accuracy", "valid_loss"):
                self.sums[name] = self.sums.get(name, 0.0) + row[name]
            self.sums["steps"] = self.sums.get("steps", 0) + 1
            if self.step % self.config.log_every == 0:
                self.metrics.append({"kind": "step", "step": self.step, **row})
        if good < count:
            values = ", ".join(f"{n} {v[good]:g}" for n, v in sorted(log.items()))
            raise self._not_finite(f"at step {self.step + 1} ({values})")
        epoch = (self.step - 1) // self.setup.steps_per_epoch + 1
        progress.update(
            self.step,
            f"train {log['train_loss'][-1]:.4f}  valid {log['valid_loss'][-1]:.4f}",
            f"epoch {epoch}/{self.config.epochs}",
        )
        fitting = round(count * _CHUNK_SECONDS / max(seconds, 1e-3))
        return int(np.clip(fitting, 1, min(2 * count, MAX_STEPS)))

    def _not_finite(self, where: str) -> RunError:
        return RunError(
            f"{self.folder.path}: not finite {where}; checkpoints of earlier steps are "
            "kept; a new run with lower learning rates (--method.weights.lr, "
            "--method.arch.lr) may help"
        )

    def _end_epoch(self, say: Callable[[str], None]) -> None:
        """Evaluates and derives; also where the search ends inside an epoch."""
        per_epoch, config = self.setup.steps_per_epoch, self.config
        epoch, whole = -(-self.step // per_epoch), self.step % per_epoch == 0
        found = self.evaluate()
        count = float(found.count)
        self.accuracy, self.evaluated = float(found.correct) / count, self.step
        genotype = self.discretize()
        steps = self.sums["steps"]
        means = {n: value / steps for n, value in self.sums.items() if n != "steps"}
        if whole:
            self.sums = {}
        row = {f"epoch_{name}": value for name, value in means.items()}
        row |= {
            "supernet_loss": float(found.loss) / count,
            "supernet_accuracy": self.accuracy,
        }
        for kind, cell in genotype.cells.items():
            row[f"skips_{kind}"] = sum(
                c.primitive == "skip_connect" for c in cell.connections
            )
        kind = "epoch" if whole else "stop"
        self.metrics.append({"kind": kind, "step": self.step, "epoch": epoch, **row})
        self.genotypes.record(epoch, genotype)
        say(
            f"epoch {epoch}/{config.epochs}: train loss {means['train_loss']:.4f}, "
            f"valid loss {means['valid_loss']:.4f}, supernet accuracy "
            f"{100 * self.accuracy:.2f} %"
        )

    def evaluate(self) -> Evaluation:
        """The supernet on the validation half, a few batches at a time."""
        total = -(-len(self.setup.data.valid) // self.config.batch_size)
        sums = None
        for start in range(0, total, MAX_STEPS):
            count = min(MAX_STEPS, total - start)
            part = self._evaluation.call(
                self.state, self.setup.data, self._number(start), self._number(count)
            )
            part = jax.device_get(part)
            sums = part if sums is None else jax.tree.map(np.add, sums, part)
        assert sums is not None  # the half is not empty
        return sums

    def discretize(self) -> Genotype:
        arch = jax.device_get(self.state.arch)
        return self.setup.method.discretize(arch)


def run_search(
    config: SearchConfig,
    start: Setup,
    folder: RunFolder,
    say: Callable[[str], None] = lambda line: print(line, flush=True),
) -> SearchResult:
    """Searches, from the folder's last checkpoint on if it has one.

    Args:
      config: the configuration that the folder was opened with.
      start: what `setup` made of it: before the folder is opened, so that wrong data
        or settings leave no folder behind.
      folder: where everything is written.
      say: prints one line.

    Raises:
      UserError: if what the folder holds is not usable, or it cannot be written.
      RunError: if a loss is not finite.
    """
    search, stop = _Search(config, start, folder, say), StopRequest()
    with Checkpoints(folder.checkpoints) as checkpoints:
        search.resume(checkpoints)
        if search.evaluated < search.last_step:
            search.compile()
            with stop:  # before this there is nothing to save: a signal acts at once
                search.run(checkpoints, stop)
                checkpoints.wait()
    genotype = search.discretize()
    if stop.signal is None:
        search.genotypes.finish(genotype)
    return SearchResult(
        genotype=genotype,
        accuracy=search.accuracy,
        majority=_majority(search.setup),
        steps=search.step,
        stopped=stop.exit_status,
    )


def _majority(setup: Setup) -> float:
    labels: Any = setup.images.train_labels[np.asarray(setup.data.valid)]
    return float(np.bincount(labels).max() / len(labels))
