"""Everything that the training of a recurrent cell starts from."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdarts import tree
from jdarts.data import Segment, Text, columns, load_text, segment_at
from jdarts.limits import check_run_memory, text_bytes
from jdarts.loops.chunk import repeat
from jdarts.loops.length import check_steps
from jdarts.loops.seeds import SeedAxis, seed_axis
from jdarts.loops.setup_clock import SetupClock
from jdarts.loops.text_chunk import make_text_evaluation
from jdarts.loops.text_setup import held_part, text_baselines
from jdarts.nets.language import language_model
from jdarts.nets.recurrent import fixed_recurrent
from jdarts.phase import phased
from jdarts.problem import Evaluation
from jdarts.sharding import shard_batch
from jdarts.spaces import Genotype
from jdarts.text_train_config import TextTrainConfig
from jdarts.training.text_step import TextTrainer, TextTrainState, make_text_trainer
from jdarts.types import Metrics

__all__ = ["TextTrainData", "TextTrainSetup", "text_train_setup"]


class TextTrainData(NamedTuple):
    """The text, whole, on every device.

    Attributes:
      train: the training part in columns, int32 ``[rows, batch]``.
      held: the validation part in the columns of its evaluation; zeros follow, up to a
        whole number of segments and one row.
      test: the test part, in the same form.
    """

    train: jax.Array
    held: jax.Array
    test: jax.Array


_OWN_DATA = TextTrainData._make([False, False, False])


class TextTrainSetup(NamedTuple):
    """A training, ready to be compiled.

    With several seeds `state` and `key` have a leading axis of seeds.

    Attributes:
      trainer: the training of one seed.
      genotype: of the network.
      text: the text.
      data: its parts, on the devices.
      rows: of the validation and of the test part, without what fills them up.
      state: the start of the training, on the devices; the training donates it.
      key: the run's key, on the devices.
      steps_per_epoch: steps in one epoch.
      evaluations: batches of an evaluation: everything at once.
      parameters: weights of one network.
      seeds: where the seeds are; it holds the mesh.
      baselines: of the validation and of the test part.
      seconds: what it took, see `SetupClock`.
    """

    trainer: TextTrainer
    genotype: Genotype
    text: Text
    data: TextTrainData
    rows: tuple[int, int]
    state: TextTrainState
    key: jax.Array
    steps_per_epoch: int
    evaluations: int
    parameters: int
    seeds: SeedAxis
    baselines: tuple[dict[str, float], dict[str, float]]
    seconds: dict[str, float]

    def programs(
        self, config: TextTrainConfig
    ) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """The two functions to compile: of all seeds, where there are several."""
        evaluation = self._evaluation(config, self.rows[0], TextTrainState.current)
        return (
            self.seeds.map(self._chunk(config), (True, True, _OWN_DATA, False)),
            self.seeds.map(evaluation, (True, _OWN_DATA, False, False)),
        )

    def test(self, config: TextTrainConfig) -> Callable[..., Evaluation]:
        """``test(state, data)``: the best weights on the test part, of all seeds."""
        evaluation = self._evaluation(config, self.rows[1], lambda state: state.best)
        nothing = jnp.int32(0)

        def test(state: TextTrainState, data: TextTrainData) -> Evaluation:
            return evaluation(state, data._replace(held=data.test), nothing, nothing)

        return self.seeds.map(test, (True, _OWN_DATA))

    def _evaluation(
        self, config: TextTrainConfig, rows: int, weights: Callable[..., Any]
    ) -> Callable[..., Evaluation]:
        def evaluate(state: TextTrainState, passage: Any, mask: jax.Array) -> Any:
            return self.trainer.evaluate(weights(state), passage, mask)

        return make_text_evaluation(
            evaluate, units=config.units, length=config.length, rows=rows
        )

    def _chunk(
        self, config: TextTrainConfig
    ) -> Callable[..., tuple[TextTrainState, Metrics]]:
        """``chunk(key, state, data, count)``; see `jdarts.loops.text_chunk`."""
        lengths, longest = config.lengths, config.lengths.longest
        step = jax.jit(self.trainer.step)
        per_epoch, mesh = self.steps_per_epoch, self.seeds.batch_mesh

        def chunk(
            key: jax.Array,
            state: TextTrainState,
            data: TextTrainData,
            count: jax.Array,
        ) -> tuple[TextTrainState, Metrics]:
            first = state.step - state.step % per_epoch
            starts = lengths.starts(first, per_epoch)

            def one(state: TextTrainState) -> tuple[TextTrainState, Metrics]:
                number = state.step - first
                length = lengths.at(state.step)
                segment = segment_at(
                    data.train, starts[number], length, longest, number == 0
                )
                tokens, targets = shard_batch(segment[:2], mesh, 1)
                return step(
                    key, state, segment._replace(tokens=tokens, targets=targets)
                )

            return repeat(one, state, count)

        return chunk


def text_train_setup(
    config: TextTrainConfig,
    genotype: Genotype,
    devices: list[jax.Device] | None = None,
    *,
    evaluates: bool = False,
) -> TextTrainSetup:
    """Loads the text, builds the network and its start, and places them on the devices.

    Args:
      config: the configuration.
      genotype: of a recurrent cell.
      devices: where to train; by default on all devices.
      evaluates: whether a checkpoint is only evaluated: what a training alone asks for
        (a text that is long enough for its columns) is then not asked for.

    Raises:
      UserError: if the text is missing, wrong or too short, or the parts do not fit
        each other.
    """
    axis = seed_axis(len(config.all_seeds), config.batch_size, devices)
    clock = SetupClock("text")
    text = load_text(config.data)
    parts, rows = _parts(config, text, evaluates)
    per_epoch = config.lengths.per_epoch(len(parts.train))
    if not evaluates:
        check_steps(config, per_epoch)
    need = text_bytes(config, len(text.vocabulary))
    check_run_memory(need, "--units, --length, --batch-size, --seeds")
    clock.loaded()
    trainer = _trainer(config, genotype, len(text.vocabulary), per_epoch)
    state, key = _start(config, trainer, axis)
    return TextTrainSetup(
        trainer=trainer,
        genotype=genotype,
        text=text,
        data=jax.device_put(parts, axis.shared),
        rows=rows,
        state=state,
        key=key,
        steps_per_epoch=per_epoch,
        evaluations=1,
        parameters=tree.size(state.w) // len(config.all_seeds),
        seeds=axis,
        baselines=(text_baselines(text, text.valid), text_baselines(text, text.test)),
        seconds=clock.seconds(),
    )


def _parts(
    config: TextTrainConfig, text: Text, evaluates: bool
) -> tuple[TextTrainData, tuple[int, int]]:
    """The parts of the text in columns, and how many rows of the two held ones are
    text."""
    where, longest = str(config.data.dir or config.data.name), config.lengths.longest
    if evaluates:
        train = np.zeros((longest + 2, config.batch_size), np.int32)
    else:
        what = f"{where}, train part"
        train = columns(text.train, config.batch_size, longest + 2, what)
    (valid, valid_rows), (test, test_rows) = (
        held_part(part, size, config.length, f"{where}, {name} part")
        for part, size, name in (
            (text.valid, config.evaluation_batch, "valid"),
            (text.test, config.test_batch, "test"),
        )
    )
    # pyrefly: ignore (placed later)
    return TextTrainData(train, valid, test), (valid_rows, test_rows)


def _trainer(
    config: TextTrainConfig, genotype: Genotype, vocabulary: int, per_epoch: int
) -> TextTrainer:
    network = fixed_recurrent(
        genotype, vocabulary=vocabulary, units=config.units, dropout=config.dropout
    )
    model = language_model(
        network,
        config.lengths.rate,
        activation=config.activation,
        slowness=config.slowness,
    )
    return make_text_trainer(
        model, config.optimizer, epochs=config.epochs, per_epoch=per_epoch
    )


@phased("making the first weights")
def _start(
    config: TextTrainConfig, trainer: TextTrainer, axis: SeedAxis
) -> tuple[TextTrainState, jax.Array]:
    """The first state and the run's key."""
    tokens = jnp.zeros((config.lengths.longest, config.batch_size), jnp.int32)
    example = Segment(tokens, tokens, jnp.int32(1), jnp.asarray(True))
    states, keys = [], []
    for seed in config.all_seeds:  # one by one: each gets the bits of a run of its own
        init_key, key = jax.random.split(jax.random.key(seed))
        states.append(trainer.init(init_key, example))
        keys.append(jax.random.key_data(key))
    state, data = jax.device_put((axis.stack(states), axis.stack(keys)), axis.own)
    return state, jax.random.wrap_key_data(data)
