"""Everything that a search on a text starts from, placed on the devices."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdarts.curvature import CurvatureConfig
from jdarts.data import Segment, Text, baselines, columns, load_text
from jdarts.errors import UserError
from jdarts.limits import check_run_memory, text_bytes
from jdarts.loops.length import check_steps
from jdarts.loops.measures import TEXT, Measures
from jdarts.loops.pinned import pinned_data
from jdarts.loops.seeds import SeedAxis, seed_axis
from jdarts.loops.setup_clock import SetupClock
from jdarts.loops.stages import Stage, first_stage
from jdarts.loops.text_chunk import TextData, make_text_chunk, make_text_evaluation
from jdarts.methods import (
    SearchMethod,
    SearchState,
    build_method,
    partial_channels,
)
from jdarts.nets.language import language_model
from jdarts.nets.recurrent import mixed_recurrent
from jdarts.phase import phased
from jdarts.spaces import Genotype, get_space
from jdarts.text_config import TextSearchConfig

__all__ = ["TextSetup", "held_part", "text_baselines", "text_setup"]

# All seeds read the same; see `SeedAxis.map`.
_OWN_DATA = TextData._make([False, False, False])


class TextSetup(NamedTuple):
    """A search on a text, ready to be compiled.

    With several seeds `state` and `key` have a leading axis of seeds.

    Attributes:
      stage: all of the search.
      method: the search method.
      text: the text.
      data: its parts, on the devices.
      rows: of the held part, without what fills it up.
      state: the start of the search, on the devices; the search donates it.
      key: the run's key, on the devices.
      steps_per_epoch: steps in one epoch.
      evaluations: batches of an evaluation: everything at once.
      seeds: where the seeds are; it holds the mesh.
      measures: what is measured.
      baselines: what an epoch's row of each seed also says.
      known: what is known of a derived genotype: nothing.
      curvature: never measured.
      measure: None.
      pinned: what may not change when the run goes on: the digest of the text.
      seconds: what it took, see `SetupClock`.
    """

    stage: Stage
    method: SearchMethod
    text: Text
    data: TextData
    rows: int
    state: SearchState
    key: jax.Array
    steps_per_epoch: int
    evaluations: int
    seeds: SeedAxis
    measures: Measures
    baselines: list[dict[str, float]]
    known: Callable[[Genotype, dict[str, Any]], dict[str, float]]
    curvature: CurvatureConfig
    measure: None
    pinned: dict[str, str]
    seconds: dict[str, float]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The cell types that the networks have: all."""
        return tuple(self.stage.space.cells)

    @property
    def described(self) -> str:
        """The data, in one line."""
        return self.text.described

    def programs(
        self, config: TextSearchConfig
    ) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """The two functions to compile: of all seeds, where there are several."""
        axis = self.seeds
        chunk = make_text_chunk(
            self.method,
            config.lengths,
            axis.batch_mesh,
            steps_per_epoch=self.steps_per_epoch,
        )
        evaluation = make_text_evaluation(
            self.method.evaluate,
            units=config.units,
            length=config.length,
            rows=self.rows,
        )
        return (
            axis.map(chunk, (True, True, _OWN_DATA, False)),
            axis.map(evaluation, (True, _OWN_DATA, False, False)),
        )


def text_setup(
    config: TextSearchConfig, devices: list[jax.Device] | None = None
) -> TextSetup:
    """Loads the text, builds the method and its start, and places them on the devices.

    Args:
      config: the configuration.
      devices: where to search; by default on all devices.

    Raises:
      UserError: if the text is missing, wrong or too short, or the parts do not fit
        each other.
    """
    stage, k = first_stage(config), partial_channels(config.method).k
    if k != 1:
        raise UserError(
            f"--method.k: {k}, but the recurrent cells of --space {config.space} have "
            "no channels to leave out; expected 1, or another method, as darts"
        )
    axis = seed_axis(len(config.all_seeds), config.batch_size, devices)
    clock = SetupClock("text")
    text = load_text(config.data)
    parts, rows = _parts(config, text)
    per_epoch = config.lengths.per_epoch(len(parts.train))
    check_steps(config, per_epoch)
    need = text_bytes(config, len(text.vocabulary))
    check_run_memory(need, "--units, --length, --batch-size, --seeds")
    clock.loaded()
    method = _method(config, len(text.vocabulary), per_epoch)
    state, key = _start(config, method, axis)
    data = jax.device_put(parts, axis.shared)
    return TextSetup(
        stage=stage,
        method=method,
        text=text,
        data=data,
        rows=rows,
        state=state,
        key=key,
        steps_per_epoch=per_epoch,
        evaluations=1,
        seeds=axis,
        measures=TEXT,
        baselines=[text_baselines(text, text.valid)] * len(config.all_seeds),
        known=lambda genotype, mix: {},
        curvature=CurvatureConfig(),
        measure=None,
        pinned=pinned_data(config.data.dir, text),
        seconds=clock.seconds(),
    )


def _parts(config: TextSearchConfig, text: Text) -> tuple[TextData, int]:
    """The parts of the text in columns, and how many rows of the held one are text."""
    where = str(config.data.dir or config.data.name)
    train, valid = (
        columns(
            text.parts[part],
            config.batch_size,
            config.lengths.longest + 2,
            f"{where}, {part} part",
        )
        for part in ("train", "valid")
    )
    held, rows = held_part(
        text.valid, config.evaluation_batch, config.length, f"{where}, valid part"
    )
    return TextData(train, valid, held), rows  # pyrefly: ignore (placed later)


def _method(config: TextSearchConfig, vocabulary: int, per_epoch: int) -> SearchMethod:
    """The method on its network; raises a UserError if the parts do not fit."""
    space = get_space(config.space)
    network = mixed_recurrent(
        space, vocabulary=vocabulary, units=config.units, dropout=config.dropout
    )
    model = language_model(
        network,
        config.lengths.rate,
        activation=config.activation,
        slowness=config.slowness,
    )
    method = build_method(
        config.method, space, model, epochs=config.epochs, steps_per_epoch=per_epoch
    )
    if method.train_batches > per_epoch:
        raise UserError(
            f"--method.hypergradient.steps: {method.train_batches} virtual steps, but "
            f"an epoch has {per_epoch} segments; expected at most {per_epoch}"
        )
    return method


def held_part(
    tokens: np.ndarray, batch_size: int, length: int, what: str
) -> tuple[np.ndarray, int]:
    """A part of the text in columns, filled up with zeros to whole segments.

    Args:
      tokens: the part.
      batch_size: number of columns.
      length: time steps of a segment.
      what: the part, for the error.

    Returns:
      The columns, and the number of rows that are text.

    Raises:
      UserError: if the text is too short for two rows.
    """
    held = columns(tokens, batch_size, 2, what)
    rows = len(held)
    missing = -(rows - 1) % length
    return np.concatenate([held, np.zeros((missing, batch_size), np.int32)]), rows


def text_baselines(text: Text, held: np.ndarray) -> dict[str, float]:
    """What counting achieves on a part of the text, as an epoch's row has it."""
    found = baselines(text.train, held, len(text.vocabulary))
    return {
        "majority_accuracy": found.majority,
        "unigram_perplexity": found.unigram,
        "bigram_perplexity": found.bigram,
    }


@phased("making the first weights")
def _start(
    config: TextSearchConfig, method: SearchMethod, axis: SeedAxis
) -> tuple[SearchState, jax.Array]:
    """The first state and the run's key."""
    tokens = jnp.zeros((config.lengths.longest, config.batch_size), jnp.int32)
    example = Segment(tokens, tokens, jnp.int32(1), jnp.asarray(True))
    states, keys = [], []
    for seed in config.all_seeds:  # one by one: each gets the bits of a run of its own
        init_key, key = jax.random.split(jax.random.key(seed))
        states.append(method.init(init_key, example))
        keys.append(jax.random.key_data(key))
    state, data = jax.device_put((axis.stack(states), axis.stack(keys)), axis.own)
    return state, jax.random.wrap_key_data(data)
