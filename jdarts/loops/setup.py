"""Everything that a search starts from, placed on the devices."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdarts.accuracy_table import DEFAULT_DATA, AccuracyTable, load_table
from jdarts.config import SearchConfig
from jdarts.curvature import CurvatureConfig
from jdarts.data import (
    Images,
    augment_spec,
    halves,
    load,
    steps_per_epoch,
)
from jdarts.errors import UserError
from jdarts.hardware import Hardware, hardware_of, pinned_files
from jdarts.io.files import file_digest
from jdarts.limits import check_run_memory, image_bytes
from jdarts.loops.chunk import DeviceData, make_chunk, make_evaluation
from jdarts.loops.curvature import make_curvature
from jdarts.loops.length import check_steps
from jdarts.loops.measures import IMAGES, Measures, with_cost, with_table
from jdarts.loops.pinned import pinned_data
from jdarts.loops.seeds import SeedAxis, seed_axis
from jdarts.loops.setup_clock import SetupClock
from jdarts.loops.stages import Stage, first_stage
from jdarts.methods import (
    SearchMethod,
    SearchState,
    build_method,
    make_supernet,
    partial_channels,
    stages_of,
)
from jdarts.methods.drop_path import drop_rate, drop_rates
from jdarts.nets.cost import NetworkShape
from jdarts.nets.network import COMPUTE_DTYPES, Network, check_size
from jdarts.nets.paths import DropRates
from jdarts.nets.stems import STEMS
from jdarts.phase import phased
from jdarts.spaces import Genotype, get_space

__all__ = ["Setup", "programs", "setup", "setup_stage"]

# What each seed has for itself; see `SeedAxis.map`.
_OWN_DATA = DeviceData._make([False, False, True, True])


class Setup(NamedTuple):
    """A search, ready to be compiled.

    With several seeds `state`, `key` and the two index arrays of `data` have a leading
    axis of seeds.

    Attributes:
      stage: which part of the search; mostly all of it.
      kinds: the cell types that the networks have: of stages, the last one's.
      method: the search method.
      network: its supernet.
      images: the data set.
      data: the training part, on the devices.
      state: the start of the search, on the devices; the search donates it.
      key: the run's key, on the devices.
      steps_per_epoch: steps in one epoch.
      valid_count: images that train the architecture.
      evaluations: batches of an evaluation.
      seeds: where the seeds are; it holds the mesh.
      measures: what is measured.
      baselines: what an epoch's row of each seed also says.
      known: what is known of a derived genotype and the mixing weights behind it: from
        a table, if there is one, and what they cost, if that is wanted.
      curvature: when it is measured, and when the search stops because of it.
      measure: the function to compile that measures it, see `make_curvature`; None: it
        is not measured.
      pinned: what may not change when the run goes on: option to digest of what it
        names.
      seconds: what it took, see `SetupClock`.
    """

    stage: Stage
    kinds: tuple[str, ...]
    method: SearchMethod
    network: Network
    images: Images
    data: DeviceData
    state: SearchState
    key: jax.Array
    steps_per_epoch: int
    valid_count: int
    evaluations: int
    seeds: SeedAxis
    measures: Measures
    baselines: list[dict[str, float]]
    known: Callable[[Genotype, dict[str, Any]], dict[str, float]]
    curvature: CurvatureConfig
    measure: Callable[..., Any] | None
    pinned: dict[str, str]
    seconds: dict[str, float]

    @property
    def described(self) -> str:
        """The data and what they are used for, in one line."""
        train, valid = self.data.train.shape[-1], self.valid_count
        own = "the validation part" if self.images.has_valid else "training images"
        return (
            f"{self.images.described}; {train:,} train the weights, {valid:,} ({own}) "
            "the architecture"
        )

    @property
    def mesh(self) -> jax.sharding.Mesh:
        """The devices."""
        return self.seeds.mesh

    def programs(
        self, config: SearchConfig
    ) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """The two functions to compile; see `programs`."""
        return programs(config, self)


def setup(config: SearchConfig, devices: list[jax.Device] | None = None) -> Setup:
    """Loads the data, builds the method and its start, and places them on the devices.

    Args:
      config: the configuration.
      devices: where to search; by default on all devices.

    Raises:
      UserError: if the data are missing or wrong, or the parts do not fit each other.
    """
    stage, table = first_stage(config), _table(config)
    _check_skips(config, stage)
    axis = seed_axis(len(config.all_seeds), config.batch_size, devices)
    clock = SetupClock("image search")
    images = load(config.data)
    parts = [halves(config.data, images, seed) for seed in config.all_seeds]
    train, valid = axis.stack(parts)
    per_epoch = _steps_per_epoch(config, *(len(half) for half in parts[0]))
    check_steps(config, per_epoch)
    edges = max(len(spec.edges) for spec in stage.space.cells.values())
    stride, k = STEMS[config.stem].stride, partial_channels(config.method).k
    dtype = COMPUTE_DTYPES[config.compute_dtype]
    need = image_bytes(config, images.image_shape, stride, edges, dtype, k)
    check_run_memory(need, "--channels, --layers, --batch-size, --seeds")
    clock.loaded()
    searched = _searched(config, stage, images, axis, per_epoch, table)
    shared = images.train_and_valid()
    data = DeviceData(
        *jax.device_put(shared, axis.shared), *jax.device_put((train, valid), axis.own)
    )
    count = valid.shape[-1]
    chance = {} if table is None else table.chance
    labels = [shared[1][half] for _, half in parts]
    return Setup(
        **searched,
        images=images,
        data=data,
        steps_per_epoch=per_epoch,
        valid_count=count,
        evaluations=-(-count // config.batch_size),
        seeds=axis,
        baselines=[{"majority_accuracy": _majority(own)} | chance for own in labels],
        curvature=config.curvature,
        pinned=_pinned(config, images),
        seconds=clock.seconds(),
    )


def setup_stage(config: SearchConfig, start: Setup, stage: Stage) -> Setup:
    """The start of another stage of a search, on the same data and devices.

    Args:
      config: the configuration.
      start: of the stage before, or of any other.
      stage: which one.
    """
    clock = SetupClock("image search")
    searched = _searched(
        config,
        stage,
        start.images,
        start.seeds,
        start.steps_per_epoch,
        _table(config),
    )
    return start._replace(**searched, seconds=clock.seconds())


def _searched(
    config: SearchConfig,
    stage: Stage,
    images: Images,
    axis: SeedAxis,
    per_epoch: int,
    table: AccuracyTable | None,
) -> dict[str, Any]:
    """What a `Setup` has of a stage: its network, method and state."""
    space, layers = stage.space, config.layers + stage.added_layers
    check_size(images.image_shape[:2], space, layers, config.stem)
    network = make_supernet(
        config.method,
        space,
        channels=config.channels,
        layers=layers,
        stem=config.stem,
        classes=images.num_classes,
        remat=config.remat,
        dtype=COMPUTE_DTYPES[config.compute_dtype],
        drop_rate=_drop_rate(config, stage, per_epoch),
    )
    shape = NetworkShape(
        config.channels,
        config.layers + stage.last_added,
        images.num_classes,
        images.image_shape,
        config.stem,
    )
    hardware = hardware_of(config.hardware, space, shape)
    measures = IMAGES if table is None else with_table(IMAGES)
    if hardware is not None:
        measures = with_cost(measures, hardware.sentence)
        price = hardware.price if config.hardware.weight else None
        network = network._replace(price=price)
    method = build_method(
        config.method,
        space,
        network,
        epochs=stage.epochs,
        steps_per_epoch=per_epoch,
    )
    if method.train_batches > per_epoch:
        raise UserError(
            f"--method.hypergradient.steps: {method.train_batches} virtual steps, but "
            f"an epoch has {per_epoch} batches; expected at most {per_epoch}"
        )
    measure = _measure(config, method, images, axis)
    state, key = _start(config, stage, method, images, axis)
    return {
        "stage": stage,
        "kinds": space.kinds(shape.layers),
        "method": method,
        "network": network,
        "state": state,
        "key": key,
        "measures": measures,
        "known": _known(table, hardware),
        "measure": measure,
    }


def _drop_rate(
    config: SearchConfig, stage: Stage, per_epoch: int
) -> Callable[[jax.Array], DropRates] | None:
    """See `Network.drop_rate`."""
    stages, skip = stages_of(config.method), None
    if stages is not None:
        skip = stages.skip_rate(stage.number, stage.epochs, per_epoch)
    return drop_rates(drop_rate(config.drop_path, stage.epochs, per_epoch), skip)


def _known(
    table: AccuracyTable | None, hardware: Hardware | None
) -> Callable[[Genotype, dict[str, Any]], dict[str, float]]:
    """See `Setup.known`."""

    def known(genotype: Genotype, mix: dict[str, Any]) -> dict[str, float]:
        row = {} if table is None else table.look_up(genotype)
        return row if hardware is None else row | hardware.row(genotype, mix)

    return known


def _majority(labels: np.ndarray) -> float:
    """The accuracy of always answering the most frequent class."""
    return float(np.bincount(labels).max() / len(labels))


def programs(
    config: SearchConfig, start: Setup
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The two functions to compile: of all seeds, where there are several.

    Args:
      config: the configuration.
      start: what `setup` made of it.

    Returns:
      What `make_chunk` returns, and what `make_evaluation` returns.
    """
    axis, spec = start.seeds, augment_spec(config.data, start.images)
    chunk = make_chunk(
        start.method,
        spec,
        axis.batch_mesh,
        batch_size=config.batch_size,
        steps_per_epoch=start.steps_per_epoch,
    )
    evaluation = make_evaluation(
        start.method, spec, axis.batch_mesh, batch_size=config.batch_size
    )
    return (
        axis.map(chunk, (True, True, _OWN_DATA, False)),
        axis.map(evaluation, (True, _OWN_DATA, False, False)),
    )


def _measure(
    config: SearchConfig, method: SearchMethod, images: Images, axis: SeedAxis
) -> Callable[..., Any] | None:
    """What measures the curvature: of all seeds, where there are several."""
    if not config.curvature.every:
        return None
    curvature = make_curvature(
        method,
        augment_spec(config.data, images),
        axis.batch_mesh,
        batch_size=config.batch_size,
        iterations=config.curvature.iterations,
    )
    learner: Any = config.method  # it has a gradient: `make_curvature` has seen to it
    warmup = learner.warmup_epochs(config.epochs)
    config.curvature.check_warmup("--curvature", warmup)
    return axis.map(curvature, (True, True, _OWN_DATA))


def _table(config: SearchConfig) -> AccuracyTable | None:
    if config.table is not None:
        space = get_space(config.space)
        return load_table(config.table, config.table_data or DEFAULT_DATA, space)
    if config.table_data is not None:
        raise UserError("--table-data: has no effect without --table FILE")
    return None


def _pinned(config: SearchConfig, images: Images) -> dict[str, str]:
    """See `Setup.pinned`."""
    table = "none" if config.table is None else file_digest(config.table)
    data = pinned_data(config.data.dir, images)
    return pinned_files(config.hardware) | {"--table": table} | data


@phased("making the first weights")
def _start(
    config: SearchConfig,
    stage: Stage,
    method: SearchMethod,
    images: Images,
    axis: SeedAxis,
) -> tuple[SearchState, jax.Array]:
    """The stage's first state, and its key."""
    shape = (config.batch_size, *images.image_shape)
    batch = jnp.zeros(shape, jnp.result_type(float))
    states, keys = [], []
    for seed in config.all_seeds:  # one by one: each gets the bits of a run of its own
        whole = jax.random.key(seed)
        if stage.number:
            whole = jax.random.fold_in(whole, stage.number)
        init_key, key = jax.random.split(whole)
        states.append(method.init(init_key, batch))
        keys.append(jax.random.key_data(key))
    state, data = jax.device_put((axis.stack(states), axis.stack(keys)), axis.own)
    return state, jax.random.wrap_key_data(data)


def _steps_per_epoch(config: SearchConfig, train: int, valid: int) -> int:
    for part, count in (("weights", train), ("architecture", valid)):
        if config.batch_size > count:
            raise UserError(
                f"--batch-size: {config.batch_size} is more than the {count} images "
                f"that train the {part}; expected at most {count}"
            )
    return steps_per_epoch(train, config.batch_size)


def _check_skips(config: SearchConfig, stage: Stage) -> None:
    """Raises a UserError for a cap of a cell that the network does not have."""
    layers = config.layers + stage.last_added
    if config.max_skips is not None and "normal" not in stage.space.kinds(layers):
        raise UserError(
            f"--max-skips: has no effect on {layers} cells, which are all reductions; "
            "expected --layers 3 or more, or no cap"
        )
