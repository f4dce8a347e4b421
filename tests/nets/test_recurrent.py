"""Recurrent networks: sizes, lengths, dropout, penalties, genotypes that do not fit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_close

from jdarts import ZOO, Genotype, UserError, tree
from jdarts.nets.language import language_model
from jdarts.nets.recurrent import (
    Dropout,
    Masks,
    Reading,
    check_recurrent,
    fixed_recurrent,
    mixed_recurrent,
)
from jdarts.spaces import DARTS_RNN, TOY_RNN, CellGenotype, Connection

KEY = jax.random.key(0)
NOTHING = Dropout(0.0, 0.0, 0.0, 0.0, 0.0)
V, H, T, B = 7, 4, 5, 3
TOKENS = jax.random.randint(jax.random.key(9), (T, B), 0, V)


@functools.cache
def toy(dropout=NOTHING):
    return mixed_recurrent(TOY_RNN, vocabulary=V, units=H, dropout=dropout)


@functools.cache
def compiled(network, train):
    return jax.jit(functools.partial(network.apply, train=train))


def start(network, scale=20.0):
    """Weights of size 1, so that everything has an effect."""
    w, statistics = network.init(KEY)
    return jax.tree.map(lambda x: scale * x, w), statistics


def mix(space=TOY_RNN, seed=1):
    spec = space.cells["recurrent"]
    shape = (len(spec.edges), len(spec.primitives))
    return {"recurrent": jax.nn.softmax(jax.random.normal(jax.random.key(seed), shape))}


def read(network, w, statistics, *, length=T, masks=None, train=True, tokens=TOKENS):
    hidden = 0.5 * jnp.ones((B, H))
    given = mix() if network.vocabulary == V else {}
    run = compiled(network, train)
    return run(w, statistics, given, tokens, length, hidden, masks or Masks())


# --- sizes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "vocabulary", "units", "parameters"),
    [
        ("search", 10_000, 300, 4_810_000),
        ("RNN_DARTS_V1", 10_000, 850, 22_960_000),
        ("RNN_DARTS_V2", 10_000, 850, 22_960_000),
        ("RNN_ENAS", 10_000, 850, 27_295_000),
        ("RNN_DARTS_V2", 33_278, 700, 33_127_878),
        ("RNN_ENAS", 33_278, 700, 36_067_878),
    ],
)
def test_parameters(cell, vocabulary, units, parameters):
    """Those of the published programs."""
    sizes = {"vocabulary": vocabulary, "units": units, "dropout": Dropout()}
    if cell == "search":
        network = mixed_recurrent(DARTS_RNN, **sizes)
    else:
        network = fixed_recurrent(ZOO[cell], **sizes)
    w, _ = jax.eval_shape(network.init, KEY)
    assert tree.size(w) == parameters


# --- time -----------------------------------------------------------------------------


def test_what_comes_after_the_length_does_not_count():
    """Nor is anything compiled again for another length."""
    w, statistics = start(toy())
    for length in (2, 4):
        found, after = read(toy(), w, statistics, length=length)
        other = TOKENS.at[length:].set(0)
        again, same = read(toy(), w, statistics, length=length, tokens=other)
        assert_close(found.hidden, again.hidden, 0.0)
        assert_close(after, same, 0.0)
        assert_close(found.hidden, found.states[length - 1], 0.0)
    whole, _ = read(toy(), w, statistics)
    assert_close(found.logits[:4], whole.logits[:4], 1e-6)
    assert compiled(toy(), True)._cache_size() == 1


@pytest.mark.usefixtures("unchecked_shapes")
def test_mixing_weights_of_another_space():
    w, statistics = start(toy())
    wrong = {kind: weights[1:] for kind, weights in mix().items()}
    rest = TOKENS, 2, jnp.zeros((B, H)), Masks()
    with pytest.raises(AssertionError, match="shape"):
        compiled(toy(), True)(w, statistics, wrong, *rest)


def test_a_text_in_two_segments():
    """The hidden state is all that a segment needs of those before."""
    w, statistics = start(toy())
    whole, after = read(toy(), w, statistics)
    run, hidden, parts = compiled(toy(), True), 0.5 * jnp.ones((B, H)), []
    for first in (0, 2):  # steps 0 to 1, then 2 to 4
        tokens = jnp.roll(TOKENS, -first, axis=0)
        length = 2 if first == 0 else 3
        found, statistics = run(w, statistics, mix(), tokens, length, hidden, Masks())
        hidden = found.hidden
        parts.append(found.logits[:length])
    assert_close(jnp.concatenate(parts), whole.logits, 1e-5)
    assert_close(statistics, after, 1e-5)


def test_running_statistics_by_hand():
    """0.9 old + 0.1 new at every use of the normaliser: s_0, then each node."""
    w, statistics = start(toy())
    _, after = read(toy(), w, statistics, length=1)
    p, w = mix()["recurrent"], jax.tree.map(np.asarray, w)
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    mean, var = np.zeros(H), np.ones(H)

    def norm(s):
        nonlocal mean, var
        mean = 0.9 * mean + 0.1 * s.mean(0)
        var = 0.9 * var + 0.1 * s.var(0, ddof=1)
        return (s - s.mean(0)) / np.sqrt(s.var(0) + 1e-5)

    def highway(s, matrix, f, read=None):
        both = (s if read is None else read) @ matrix
        return s + sigmoid(both[:, :H]) * (f(both[:, H:]) - s)

    h = np.full((B, H), 0.5)
    x = np.concatenate([w["embedding"][np.asarray(TOKENS[0])], h], axis=1)
    states, edges = [norm(highway(h, w["first"], np.tanh, x))], iter(np.asarray(p))
    for matrix in w["nodes"]:
        total = 0
        for s in list(states):
            share = next(edges)
            total = total + share[1] * highway(s, matrix, np.tanh)
            total = total + share[2] * highway(s, matrix, lambda q: q)
        states.append(norm(total))
    assert_close(after, {"mean": mean, "var": var}, 1e-4)


def test_evaluation_uses_running_statistics():
    w, _ = start(toy())
    statistics = {"mean": jnp.full(H, 0.1), "var": jnp.full(H, 2.0)}
    found, after = read(toy(), w, statistics, train=False)
    assert_close(after, statistics, 0.0)
    one, _ = compiled(toy(), False)(
        w,
        statistics,
        mix(),
        TOKENS[:, :1],
        T,
        0.5 * jnp.ones((1, H)),
        Masks(),
    )
    assert_close(one.logits[:, 0], found.logits[:, 0], 1e-5)  # batch-independent


# --- dropout --------------------------------------------------------------------------


def test_masks():
    rates = Dropout(output=0.75, hidden=0.25, input=0.5, embedded=0.2, word=0.1)
    network = mixed_recurrent(TOY_RNN, vocabulary=900, units=60, dropout=rates)
    masks = network.masks(KEY, 50)
    assert masks.word.shape == (900, 1)
    for name, mask in masks._asdict().items():
        rate = getattr(rates, name)
        if name != "word":
            assert mask.shape == (50, 60)
        assert_close(np.unique(mask), np.array([0.0, 1 / (1 - rate)]), 1e-6)
        assert abs(np.mean(np.asarray(mask) == 0) - rate) < 0.05, name
    assert all(m is None for m in toy().masks(KEY, 3))
    assert_close(network.masks(KEY, 50), masks, 0.0)
    assert not np.array_equal(network.masks(jax.random.key(1), 50).hidden, masks.hidden)


@pytest.mark.parametrize("name", Masks._fields)
def test_each_mask_where_it_belongs(name):
    """A mask of ones changes nothing, one of zeros removes what it masks."""
    w, statistics = start(toy())
    shape = (V, 1) if name == "word" else (B, H)
    plain, _ = read(toy(), w, statistics)
    ones, _ = read(toy(), w, statistics, masks=Masks(**{name: jnp.ones(shape)}))
    assert_close(ones.logits, plain.logits, 1e-6)
    zeros, _ = read(toy(), w, statistics, masks=Masks(**{name: jnp.zeros(shape)}))
    if name == "output":
        assert_close(zeros.states, plain.states, 1e-6)
        bias = jnp.broadcast_to(w["decoder_bias"], zeros.logits.shape)
        assert_close(zeros.logits, bias, 1e-6)
        return
    gone = dict(w)
    if name == "hidden":
        gone["nodes"] = jnp.zeros_like(w["nodes"])
        gone["first"] = w["first"].at[H:].set(0.0)
    elif name == "input":
        gone["first"] = w["first"].at[:H].set(0.0)
    else:  # the decoder keeps its embedding
        other, _ = read(toy(), w, statistics, masks=Masks(input=jnp.zeros((B, H))))
        assert_close(zeros.logits, other.logits, 1e-5)
        return
    expected, _ = read(toy(), gone, statistics)
    assert_close(zeros.logits, expected.logits, 1e-5)


def test_scores_are_those_of_the_logits():
    w, statistics = start(toy())
    masks = Masks(output=jnp.zeros((B, H)).at[:, 1:3].set(2.0))
    reading, _ = read(toy(), w, statistics, masks=masks)
    targets = jnp.where(TOKENS % 2, reading.logits.argmax(-1), TOKENS)
    losses, correct = reading.score(targets)
    expected = optax.softmax_cross_entropy_with_integer_labels(reading.logits, targets)
    assert_close(losses, expected, 1e-5)
    assert np.array_equal(correct, reading.logits.argmax(-1) == targets)
    assert 0 < correct.sum() < correct.size


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_bad_rates(rate):
    with pytest.raises(UserError, match="--dropout.hidden: .*less than 1"):
        Dropout(hidden=rate).check("--dropout")


def test_penalties():
    states = jax.random.normal(KEY, (T, B, H))
    kept = jnp.full((B, H), 2.0)
    reading = Reading(states, kept, states[0], jnp.zeros((7, H)), jnp.zeros(7))
    task = language_model(toy(), lambda step: 1.0, activation=0.5, slowness=0.25)
    found = task.penalty(reading, jnp.int32(4))
    s = np.asarray(states[:4])
    expected = 0.5 * np.mean(4 * s**2) + 0.25 * np.mean((s[1:] - s[:-1]) ** 2)
    assert_close(found, expected, 1e-5)
    assert np.isfinite(task.penalty(reading, jnp.int32(1)))


# --- genotypes ------------------------------------------------------------------------


def cell(*connections, **options):
    nodes = tuple((Connection(*c),) for c in connections)
    made = {"inputs": 1, "output": "mean", "concat": (1,)} | options
    return Genotype("darts_rnn", {"recurrent": CellGenotype(nodes, **made)})


@pytest.mark.parametrize(
    ("genotype", "message"),
    [
        (ZOO["DARTS_V2"], "types normal, reduce; a language model expects one of type"),
        (cell(("tan", 0)), "unknown 'tan'; did you mean 'tanh'"),
        (cell(("tanh", 1)), "reads node 1, expected 0 to 0"),
        (cell(("tanh", 0), concat=(2,)), "concat names node 2"),
        (cell(("tanh", 0), output="concat"), "output concat; expected"),
        (
            Genotype("x", {"recurrent": CellGenotype(((),), (1,), 1, "mean")}),
            "node 1 has 0 connections",
        ),
    ],
)
def test_genotypes_that_make_no_language_model(genotype, message):
    with pytest.raises(UserError, match=message):
        check_recurrent(genotype)


@pytest.mark.parametrize("name", [n for n, g in ZOO.items() if "recurrent" in g.cells])
def test_published_cells(name):
    check_recurrent(ZOO[name])
