"""Every row of METHODS searches recurrent cells as well; what texts add."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, directional_difference, shapes

from jdarts import (
    METHODS,
    DartsConfig,
    HypergradientConfig,
    SearchBatches,
    UserError,
    build_method,
    jit,
    make_hypergradient,
    tree,
)
from jdarts.cli import parse_search
from jdarts.data import Lengths, columns, segment_at
from jdarts.loops.text_setup import text_setup
from jdarts.nets.language import language_model
from jdarts.nets.recurrent import Dropout, Masks, check_recurrent, mixed_recurrent
from jdarts.problem import Passage, pose
from jdarts.relaxation import softmax
from jdarts.spaces import TOY_RNN
from jdarts.types import Now

KEY = jax.random.key(0)
V, H, B, T = 6, 8, 10, 7
RATE = 5.0
LENGTHS = Lengths(T, halved=0.3, least=2)
# A text that repeats itself: 0 1 2 3 4 5 0 1 2 ...
TEXT = jnp.asarray(columns(np.arange(610) % V, B, 2, "text"), jnp.int32)


@functools.cache
def task(dropout=0.1):
    rates = Dropout(dropout, dropout, dropout, dropout, dropout)
    network = mixed_recurrent(TOY_RNN, vocabulary=V, units=H, dropout=rates)
    return language_model(network, LENGTHS.rate, slowness=1e-3)


def weights(config):
    """The settings of texts: a high learning rate, clipping."""
    settings = {
        "lr": RATE,
        "lr_min": RATE,
        "momentum": 0.0,
        "clip": 0.25,
        "nesterov": False,
    }
    return dataclasses.replace(
        config, weights=dataclasses.replace(config.weights, **settings)
    )


def batches(step, count):
    def segment(step, fresh=False):
        place = (7 * step) % (len(TEXT) - T - 1)
        return segment_at(TEXT, place, LENGTHS.at(step), T, fresh)

    train = [segment(step + k, step + k == 0) for k in range(count)]
    train = jax.tree.map(lambda *leaves: jnp.stack(leaves), *train)
    return SearchBatches(train, segment(step + 3, step == 0))


@functools.cache
def build(name):
    method = build_method(
        weights(METHODS[name].config()), TOY_RNN, task(), epochs=2, steps_per_epoch=20
    )
    chex.clear_trace_counter()  # it counts by the function's source
    return method, jit(chex.assert_max_traces(method.step, n=1))


def start(method):
    return method.init(KEY, jax.tree.map(lambda x: x, batches(0, 1).valid))


@pytest.mark.parametrize("name", ["darts", "nasp", "gdas"])
def test_search(name):
    """Steps of several lengths, compiled once: the loss falls, the rate follows."""
    method, step = build(name)
    state = first = start(method)
    form, history, seen = shapes(state), [], set()
    for i in range(60):
        state, metrics = step(KEY, state, batches(i, method.train_batches))
        assert shapes(state) == form
        assert all(jnp.isfinite(v) and jnp.shape(v) == () for v in metrics.values())
        assert_close(metrics["lr"], RATE * int(LENGTHS.at(i)) / T, 1e-6)
        seen.add(int(LENGTHS.at(i)))
        history.append(float(metrics["train_loss"]))
    assert len(seen) > 1
    if name == "darts":  # the others compute one op an edge, which ever changes
        assert np.mean(history[-5:]) < 0.8 * np.mean(history[:5])
    for before in ("train", "valid"):
        assert np.any(np.asarray(state.model_state[before]))
    assert not np.array_equal(
        state.arch.alpha["recurrent"], first.arch.alpha["recurrent"]
    )
    cell = method.discretize(state.arch).cells["recurrent"]
    assert (cell.inputs, cell.output, cell.concat) == (1, "mean", (1, 2))
    passage = Passage(batches(5, 1).valid, state.model_state["valid"], jnp.int32(0))
    found, hidden = jit(method.evaluate)(state, passage, jnp.ones((T, B)))
    assert found.count == B * int(LENGTHS.at(8)) and jnp.isfinite(found.loss)
    assert hidden.shape == (B, H)


ALL = [n for n, row in METHODS.items() if row.partial(row.config()).k == 1]


@pytest.mark.parametrize("name", ALL)
def test_every_method_steps(name):
    """By its shapes alone: the state keeps its form."""
    method = build(name)[0]
    state = jax.eval_shape(lambda: start(method))
    data = batches(0, method.train_batches)
    after, _ = jax.eval_shape(method.step, KEY, state, data)
    assert shapes(after) == shapes(state)


@pytest.mark.parametrize("name", [n for n in METHODS if n not in ALL])
def test_partial_channels_are_refused(name):
    with pytest.raises(UserError, match="but the method expects"):
        build(name)
    command = parse_search(["rnn_demo", "--method", name])
    with pytest.raises(UserError, match="--method.k: 4, but the recurrent cells of"):
        text_setup(command.config)
    config = dataclasses.replace(weights(METHODS[name].config()), k=1)
    method = build_method(config, TOY_RNN, task(), epochs=2, steps_per_epoch=20)
    state = jax.eval_shape(lambda: start(method))
    after, _ = jax.eval_shape(method.step, KEY, state, batches(0, 1))
    assert shapes(after) == shapes(state)


@pytest.mark.parametrize("name", ALL)
def test_genotypes_make_networks(name):
    """Whatever a method's rule: every node reads one state."""
    method = build(name)[0]
    random = np.random.default_rng(0)
    arch = start(method).arch
    alpha = jax.tree.map(lambda a: a + random.uniform(size=a.shape), arch.alpha)
    arch = arch._replace(alpha=alpha)
    check_recurrent(method.discretize(arch))


def test_steps_repeat():
    """Also what is dropped: it follows from the key and the step's number."""
    method, step = build("darts")
    data = batches(0, method.train_batches)
    once, metrics = step(KEY, start(method), data)
    again, same = step(KEY, start(method), data)
    assert_close(once, again, 0.0)
    assert_close(metrics, same, 0.0)
    _, other = step(jax.random.key(5), start(method), data)
    assert other["train_loss"] != metrics["train_loss"]


# --- one step of DARTS ---


@functools.cache
def posed(dropout=0.1):
    problem = pose(task(dropout), softmax(0.5).weights)
    w, model_state = problem.init(KEY, batches(0, 1).valid)
    w = jax.tree.map(lambda x: 10 * x, w)
    return problem, w, model_state, softmax(0.5).init(KEY, TOY_RNN)


def test_masks_are_fixed_within_a_step(x64):
    """The exact hypergradient is the slope of the loss after the virtual step, which it
    could not be if anything was drawn again. Other steps draw other masks."""
    problem, w, model_state, arch = posed()
    w, model_state, arch = jax.tree.map(
        lambda x: x.astype(jnp.float64), (w, model_state, arch)
    )

    class State:
        step = jnp.int32(3)

    State.w, State.arch, State.model_state = w, arch, model_state
    now = Now(KEY, State.step)
    train, valid = problem.prepare(State, *batches(3, 1), now)
    first = jax.tree.map(lambda x: x[0], train)
    loss, valid_loss = (
        functools.partial(f, now=now) for f in (problem.loss, problem.valid_loss)
    )
    of_key = jit(lambda key: problem.loss(w, arch, first, Now(key, State.step)))
    assert abs(of_key(jax.random.key(1)) - of_key(KEY)) > 1e-3

    def step(w, opt, gradient):
        return tree.add_scaled(w, -2.0, gradient), opt

    rule = make_hypergradient(HypergradientConfig("unrolled"))
    (_, hidden), gradient = jit(
        lambda arch: rule(
            *(loss, valid_loss, step, w, (), arch, train, valid),
            has_aux=True,
        )
    )(arch)

    @jit
    def after(arch):
        virtual, _ = step(w, (), jax.grad(loss)(w, arch, first))
        return valid_loss(virtual, arch, valid)

    assert_close(hidden, after(arch)[1], 1e-10)  # what the validation text hands on
    random = np.random.default_rng(0)
    direction = jax.tree.map(lambda a: random.normal(size=a.shape), arch)
    slope = directional_difference(lambda a: after(a)[0], arch, direction)
    assert_close(tree.dot(gradient, direction), slope, 1e-6)


def test_hidden_states_go_on():
    """From step to step, of both texts; a text that begins again has none."""
    problem, w, model_state, arch = posed(0.0)

    class State:
        step = jnp.int32(1)

    State.w, State.arch = w, arch
    State.model_state = model_state | {
        "train": model_state["train"] + 0.5,
        "valid": model_state["valid"] - 0.25,
    }
    train, valid = problem.prepare(State, *batches(1, 3), None)
    assert_close(train.hidden[0], jnp.full((B, H), 0.5), 0.0)
    assert_close(valid.hidden, jnp.full((B, H), -0.25), 0.0)
    net, mix = task(0.0).network, softmax().weights(arch)
    for k in range(2):  # virtual step k + 1 goes on where segment k ends
        segment = jax.tree.map(lambda x, k=k: x[k], train.segment)
        found, _ = net.apply(
            *(w, None, mix, segment.tokens, segment.length),
            *(train.hidden[k], Masks(), True),
        )
        assert_close(train.hidden[k + 1], found.hidden, 1e-5)
    _, (after, _) = problem.train_loss(
        w, State.model_state, arch, jax.tree.map(lambda x: x[0], train)
    )
    assert_close(after["train"], train.hidden[1], 1e-5)
    kept = problem.keep(after, jnp.ones((B, H)))
    assert_close(kept, after | {"valid": jnp.ones((B, H))}, 0.0)
    State.model_state = kept
    train, valid = problem.prepare(State, *batches(0, 1), None)  # fresh
    assert not np.any(train.hidden) and not np.any(valid.hidden)


def test_the_quotient():
    rule = HypergradientConfig("finite_difference")
    config = weights(DartsConfig(hypergradient=rule))
    method = build_method(config, TOY_RNN, task(), epochs=1, steps_per_epoch=5)
    state, metrics = jit(method.step)(KEY, start(method), batches(0, 1))
    assert all(jnp.isfinite(v) for v in metrics.values())
    assert np.any(np.asarray(state.model_state["valid"]))
