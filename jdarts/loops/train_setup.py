"""Everything that a training starts from, placed on the devices."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdarts import tree
from jdarts.data import (
    Images,
    augment_spec,
    halves,
    load,
    steps_per_epoch,
)
from jdarts.errors import UserError
from jdarts.limits import check_run_memory, image_bytes
from jdarts.loops.length import check_steps
from jdarts.loops.seeds import SeedAxis, seed_axis
from jdarts.loops.setup_clock import SetupClock
from jdarts.loops.train_chunk import (
    TrainData,
    make_train_chunk,
    make_train_evaluation,
)
from jdarts.nets.fixed import fixed_network
from jdarts.nets.network import COMPUTE_DTYPES
from jdarts.nets.stems import STEMS
from jdarts.phase import phased
from jdarts.spaces import Genotype
from jdarts.train_config import TrainConfig
from jdarts.training import Trainer, TrainState, make_trainer

__all__ = ["TrainSetup", "train_programs", "train_setup"]

# What each seed has for itself; see `SeedAxis.map`.
_OWN_DATA = TrainData._make([False, False, True, False, False, True])


class TrainSetup(NamedTuple):
    """A training, ready to be compiled.

    With several seeds `state`, `key` and the two index arrays of `data` have a leading
    axis of seeds.

    Attributes:
      config: the configuration, with what follows from the data decided.
      trainer: the training of one seed.
      genotype: of the network.
      images: the data set.
      data: its images, on the devices.
      state: the start of the training, on the devices; the training donates it.
      key: the run's key, on the devices.
      steps_per_epoch: steps in one epoch.
      valid_count: images that are evaluated on.
      batch_size: images in a batch.
      evaluations: batches of an evaluation.
      parameters: weights of one network, without the auxiliary classifier.
      seeds: where the seeds are; it holds the mesh.
      seconds: what it took, see `SetupClock`.
    """

    config: TrainConfig
    trainer: Trainer
    genotype: Genotype
    images: Images
    data: TrainData
    state: TrainState
    key: jax.Array
    steps_per_epoch: int
    valid_count: int
    batch_size: int
    evaluations: int
    parameters: int
    seeds: SeedAxis
    seconds: dict[str, float]

    @property
    def described(self) -> str:
        """The data and what they are used for, in one line."""
        images, train = self.images, self.data.train.shape[-1]
        part, unused = "test", "; the validation images are not used"
        if self.config.evaluate_on == "valid":
            part, unused = "validation", ""
            if not images.has_valid:
                part = "held-out training"
        elif not images.has_valid:
            unused = ""
        return (
            f"{images.described}; trained on {train:,}, evaluated on "
            f"{self.valid_count:,} {part} images{unused}"
        )


def train_setup(
    config: TrainConfig,
    genotype: Genotype,
    devices: list[jax.Device] | None = None,
    *,
    evaluates: bool = False,
) -> TrainSetup:
    """Loads the data, builds the network and its start, and places them on the devices.

    Args:
      config: the configuration.
      genotype: what is trained.
      devices: where to train; by default on all devices.
      evaluates: whether a checkpoint is only evaluated: what a training alone asks for
        (as many images as a batch has, say) is then not asked for.

    Raises:
      UserError: if the data are missing or wrong, or the parts do not fit each other.
    """
    clock = SetupClock("image training")
    images = load(config.data, trains=not evaluates or config.evaluate_on == "valid")
    config = config.judged(len(images.test_images) > 0)
    parts = [_parts(config, images, seed) for seed in config.all_seeds]
    batch = config.batch_size
    if evaluates:
        batch = _evaluation_batch(batch, len(parts[0][1]), devices)
    axis = seed_axis(len(config.all_seeds), batch, devices)
    train, held = axis.stack(parts)
    per_epoch = 1 if evaluates else _steps_per_epoch(config, train.shape[-1])
    _check_memory(config, genotype, images, batch)
    clock.loaded()
    trainer = _trainer(config, genotype, images, per_epoch)
    state, key = _start(config, trainer, images, axis, batch)
    data = _place(config, images, axis, train, held)
    return TrainSetup(
        config,
        trainer,
        genotype,
        images,
        data,
        state,
        key,
        per_epoch,
        held.shape[-1],
        batch,
        -(-held.shape[-1] // batch),
        _parameters(state) // len(config.all_seeds),
        axis,
        clock.seconds(),
    )


def _check_memory(
    config: TrainConfig, genotype: Genotype, images: Images, batch: int
) -> None:
    edges = max(len(cell.connections) for cell in genotype.cells.values())
    sized = dataclasses.replace(config, batch_size=batch)
    stride, dtype = STEMS[config.stem].stride, COMPUTE_DTYPES[config.compute_dtype]
    need = image_bytes(sized, images.image_shape, stride, edges, dtype)
    check_run_memory(need, "--channels, --layers, --batch-size, --seeds")


def _trainer(
    config: TrainConfig, genotype: Genotype, images: Images, per_epoch: int
) -> Trainer:
    network = fixed_network(
        genotype,
        channels=config.channels,
        layers=config.layers,
        classes=images.num_classes,
        stem=config.stem,  # pyrefly: ignore (checked)
        auxiliary=config.auxiliary,
        scan=config.scan,
        remat=config.remat,
        dtype=COMPUTE_DTYPES[config.compute_dtype],
    )
    return make_trainer(network, config.settings, per_epoch)


def _evaluation_batch(batch: int, images: int, devices: list[jax.Device] | None) -> int:
    """Not more than there are images, and such that the devices divide it."""
    count = len(devices or jax.devices())
    return -(-min(batch, images) // count) * count


def train_programs(
    config: TrainConfig, start: TrainSetup
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The two functions to compile: of all seeds, where there are several.

    Args:
      config: the configuration.
      start: what `train_setup` made of it.

    Returns:
      What `make_train_chunk` returns, and what `make_train_evaluation` returns.
    """
    axis, spec = start.seeds, augment_spec(config.data, start.images)
    chunk = make_train_chunk(
        start.trainer,
        spec,
        axis.batch_mesh,
        batch_size=start.batch_size,
        steps_per_epoch=start.steps_per_epoch,
    )
    evaluation = make_train_evaluation(
        start.trainer,
        spec,
        axis.batch_mesh,
        batch_size=start.batch_size,
        classes=start.images.num_classes,
    )
    return (
        axis.map(chunk, (True, True, _OWN_DATA, False)),
        axis.map(evaluation, (True, _OWN_DATA, False, False)),
    )


def _parts(
    config: TrainConfig, images: Images, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of what is trained on, and of what is evaluated on."""
    if config.evaluate_on == "valid":
        return halves(config.data, images, seed)
    if not len(images.test_images):
        raise UserError(
            f"{config.data.dir or config.data.name}: has no test images; expected "
            "some, or --evaluate-on valid"
        )
    counts = len(images.train_images), len(images.test_images)
    train, test = (np.arange(count, dtype=np.int32) for count in counts)
    return train, test


def _place(
    config: TrainConfig,
    images: Images,
    axis: SeedAxis,
    train: np.ndarray,
    held: np.ndarray,
) -> TrainData:
    def place(pixels: np.ndarray, labels: np.ndarray) -> tuple[jax.Array, jax.Array]:
        return jax.device_put((pixels, labels), axis.shared)

    if config.evaluate_on == "test":
        pixels, labels = place(images.train_images, images.train_labels)
        others, other_labels = place(images.test_images, images.test_labels)
    else:
        pixels, labels = others, other_labels = place(*images.train_and_valid())
    own, other = jax.device_put((train, held), axis.own)
    return TrainData(pixels, labels, own, others, other_labels, other)


@phased("making the first weights")
def _start(
    config: TrainConfig, trainer: Trainer, images: Images, axis: SeedAxis, batch: int
) -> tuple[TrainState, jax.Array]:
    """The first state and the run's key."""
    shape = (batch, *images.image_shape)
    example = jnp.zeros(shape, jnp.result_type(float))
    states, keys = [], []
    for seed in config.all_seeds:  # one by one: each gets the bits of a run of its own
        init_key, key = jax.random.split(jax.random.key(seed))
        states.append(trainer.init(init_key, example))
        keys.append(jax.random.key_data(key))
    state, data = jax.device_put((axis.stack(states), axis.stack(keys)), axis.own)
    return state, jax.random.wrap_key_data(data)


def _parameters(state: TrainState) -> int:
    parts = {name: part for name, part in state.w.items() if name != "auxiliary"}
    return tree.size(parts)


def _steps_per_epoch(config: TrainConfig, count: int) -> int:
    if config.batch_size > count:
        raise UserError(
            f"--batch-size: {config.batch_size} is more than the {count} images to "
            f"train on; expected at most {count}"
        )
    per_epoch = steps_per_epoch(count, config.batch_size)
    check_steps(config, per_epoch)
    return per_epoch
