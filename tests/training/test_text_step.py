"""Training a recurrent cell: the average of the weights, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from helpers import assert_close

from jdarts import ZOO, jit
from jdarts.data import Lengths, columns, segment_at
from jdarts.methods.optimizers import WeightOptimizer
from jdarts.nets.language import language_model
from jdarts.nets.recurrent import Dropout, fixed_recurrent
from jdarts.training.text_step import make_text_trainer

KEY, T = jax.random.key(0), 6
TEXT = jnp.asarray(columns(np.arange(410) % 5, 4, 2, "text"), jnp.int32)


def test_averaging():
    lengths = Lengths(T, halved=0.5, least=2)
    network = fixed_recurrent(
        ZOO["RNN_DARTS_V1"], vocabulary=5, units=4, dropout=Dropout(0.1, 0.1, 0.1, 0.1)
    )
    optimizer = WeightOptimizer(lr=2.0, lr_min=2.0, momentum=0.0, clip=0.25)
    trainer = make_text_trainer(
        language_model(network, lengths.rate), optimizer, epochs=1, per_epoch=9
    )
    step = jit(trainer.step)
    state = trainer.init(KEY, segment_at(TEXT, 0, T, T))
    history, start = [], state.w
    for i in range(6):
        if i == 3:
            state = state._replace(averaging=jnp.asarray(True))
        segment = segment_at(TEXT, 6 * i, lengths.at(i), T, i == 0)
        state, metrics = step(KEY, state, segment)
        assert_close(metrics["lr"], 2.0 * int(lengths.at(i)) / T, 1e-6)
        # One step of SGD moves the weights by at most lr times the clipped norm.
        history.append(state.w)
        if i < 3:
            assert state.averaged == 0
            assert_close(state.current(), state.w, 0.0)
    assert state.averaged == 3 and np.any(np.asarray(state.hidden))
    mean = jax.tree.map(lambda *w: sum(w) / 3, *history[3:])
    assert_close(state.current(), mean, 1e-5)
    assert_close(state.best, start, 0.0)
    moved = jax.tree.map(lambda a, b: a - b, history[0], start)
    norm = np.sqrt(sum(np.sum(np.square(x)) for x in jax.tree.leaves(moved)))
    assert norm <= 2.0 * int(lengths.at(0)) / T * 0.2501
