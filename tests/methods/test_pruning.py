"""Methods that give up primitives: the common part, SGAS and ASAP."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, shapes

from jdarts import (
    SPACES,
    Arch,
    Batch,
    HypergradientConfig,
    SearchBatches,
    UserError,
    build_method,
    jit,
    make_supernet,
)
from jdarts.hypergradient import HYPERGRADIENTS
from jdarts.io import Checkpoints
from jdarts.methods.asap import AsapConfig, pruning, temperature_at
from jdarts.methods.sgas import (
    SgasConfig,
    decide_edge,
    decision_epochs,
    decisions,
    scores,
)
from jdarts.relaxation import Held, pruned_softmax, settle_by_epoch
from jdarts.relaxation.pruned import kept_softmax
from jdarts.spaces import NAS_BENCH_201, TOY, TOY_RNN

KEY = jax.random.key(0)
SPEC = SPACES["darts_cnn"].cells["normal"]


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


# --- what is common -----------------------------------------------------------------


def test_weights_of_what_is_kept():
    """Exactly one-hot or zero where nothing is left to choose, and constant there."""
    logits = jnp.asarray(normal(0, 4, 3))
    kept = np.array([[1, 1, 1], [0, 1, 1], [0, 1, 0], [0, 0, 0]], bool)
    found = kept_softmax(logits, kept)
    expected = (np.exp(logits) * kept)[:2]
    assert_close(found[:2], expected / expected.sum(1, keepdims=True), 1e-6)
    np.testing.assert_array_equal(found[2:], [[0, 1, 0], [0, 0, 0]])
    factors = normal(1, 4, 3)
    gradient = jax.grad(lambda x: (kept_softmax(x, kept) * factors).sum())(logits)
    assert np.any(np.asarray(gradient[:2])) and not np.any(np.asarray(gradient[2:]))
    np.testing.assert_array_equal(np.asarray(gradient)[~kept], 0)


def test_edges_that_each_have_one_op_left_are_ranked_by_what_was_learnt():
    """All of them weigh 1: a node would read its first sources, whatever alpha is."""
    config = AsapConfig()
    network = make_supernet(config, TOY, channels=4, layers=2, classes=10)
    method = build_method(config, TOY, network, epochs=50, steps_per_epoch=1)
    arch = jax.eval_shape(method.init, KEY, jnp.zeros((1, 8, 8, 3))).arch
    alpha, held = {}, {}
    for i, (kind, leaf) in enumerate(sorted(arch.alpha.items())):
        alpha[kind] = 3 * normal(i, *leaf.shape)
        alpha[kind][:, 0] -= 9  # no edge is left with `none`
        best = alpha[kind].argmax(1)
        held[kind] = jnp.asarray(np.arange(leaf.shape[1]) == best[:, None])
    arch = Arch(alpha, {}, Held(held, jnp.asarray(0.2)))
    genotype, distinct = method.discretize(arch), set()
    for kind, spec in TOY.cells.items():
        strength = softmax(alpha[kind] / 0.2).max(1)
        for rows, node in zip(
            spec.node_slices, genotype.cells[kind].nodes, strict=True
        ):
            order = np.argsort(-strength[rows], kind="stable")[: spec.keep]
            assert [c.source for c in node] == list(order)
            distinct |= {tuple(order)}
    assert len(distinct) > 2  # of them not all the first sources


def test_settle():
    """Decided edges stay, nothing comes back, and epochs' ends alone decide; a
    population of seeds does as each of its seeds."""
    kept = np.array([[1, 1, 1], [0, 1, 0], [0, 0, 0]], bool)
    wanted = np.array([[1, 1, 0], [1, 1, 1], [1, 1, 1]], bool)

    def prune(arch, epoch):
        return arch.held._replace(kept={"normal": jnp.asarray(wanted)}, memory=epoch)

    def after(steps, seed=0):
        held = Held({"normal": jnp.asarray(kept)}, jnp.float32(1), jnp.int32(-1))
        old, new = (Arch({"normal": normal(seed + i, 3, 3)}, {}, held) for i in (0, 1))
        return settle_by_epoch(prune, 4)(old, new, steps)

    for steps, epoch, expected in ((3, -1, kept), (8, 2, kept & wanted)):
        arch = after(jnp.int32(steps))
        np.testing.assert_array_equal(arch.held.kept["normal"], expected)
        assert arch.held.memory == epoch
        alpha = np.asarray(arch.alpha["normal"])
        np.testing.assert_array_equal(alpha[0], normal(1, 3, 3)[0])
        np.testing.assert_array_equal(alpha[1:], normal(0, 3, 3)[1:])
    both = jax.vmap(after)(jnp.array([3, 8], jnp.int32))
    np.testing.assert_array_equal(both.held.kept["normal"], [kept, kept & wanted])
    np.testing.assert_array_equal(both.held.memory, [-1, 2])


# --- SGAS ---------------------------------------------------------------------------


def numpy_scores(alpha, past=()):
    """As in the authors' code, for a cell whose first primitive is `none`."""

    def norm(v):
        return (v - v.min()) / (v.max() - v.min())

    p = softmax(alpha)
    importance = p[:, 1:].sum(1)
    q = p[:, 1:] / importance[:, None]
    entropy = -(q * np.log(q)).sum(1) / np.log(q.shape[1])
    score = norm(importance) * norm(1 - entropy)
    if past:
        shared = [np.minimum(q, other).sum(1) for other in past]
        score = score * norm(np.mean(shared, axis=0))
    return score


def found_scores(spec, alpha, past, epochs):
    """`scores` of NumPy's arrays."""
    past = None if past is None else jnp.asarray(past)
    return scores(spec, jnp.asarray(alpha), past, epochs)


def test_criteria():
    assert SPEC.primitives[0] == "none"
    alpha = normal(2, 14, 8)
    assert_close(found_scores(SPEC, alpha, None, 0), numpy_scores(alpha), 1e-5)
    past = [softmax(normal(i, 14, 7)) for i in (3, 4)]
    memory = np.concatenate([past, np.zeros((2, 14, 7))])  # room for four
    expected = numpy_scores(alpha, past)
    assert_close(found_scores(SPEC, alpha, memory, 2), expected, 1e-5)
    past += [softmax(normal(i, 14, 7)) for i in (5, 6)]
    expected = numpy_scores(alpha, past)
    assert_close(found_scores(SPEC, alpha, np.stack(past), 30), expected, 1e-5)


def test_a_criterion_that_tells_nothing_is_left_out():
    """Without `none` all edges are as important; without a past all are as stable."""
    spec = dataclasses.replace(SPEC, primitives=SPEC.primitives[1:])
    alpha = normal(2, 14, 7)
    q = softmax(alpha)
    certainty = (q * np.log(q)).sum(1)
    expected = (certainty - certainty.min()) / np.ptp(certainty)
    assert_close(found_scores(spec, alpha, None, 0), expected, 1e-5)
    assert_close(found_scores(spec, alpha, np.zeros((4, 14, 7)), 0), expected, 1e-5)


def numpy_decisions(spec, alpha, score):
    """Greedily, edge by edge: ``(edge, primitive)``, and the rows that are cut then."""
    open_edges, decided, found = set(range(len(spec.edges))), {}, []
    while open_edges:
        edge = max(sorted(open_edges), key=lambda e: score[e])
        first = spec.primitives[0] == "none"
        decided[edge] = int(alpha[edge, first:].argmax()) + first
        open_edges.discard(edge)
        for rows in spec.node_slices:
            own = set(range(rows.start, rows.stop))
            if len(own & set(decided)) == (spec.keep or len(own)):
                open_edges -= own
        found.append((dict(decided), set(open_edges)))
    return found


@pytest.mark.parametrize(
    "spec", [SPEC, TOY_RNN.cells["recurrent"], NAS_BENCH_201.cells["normal"]]
)
def test_order_of_decisions(spec):
    shape = len(spec.edges), len(spec.primitives)
    alpha, kept = normal(7, *shape), np.ones(shape, bool)
    score = np.asarray(found_scores(spec, alpha, None, 0))
    expected, decide = (
        numpy_decisions(spec, alpha, score),
        jax.jit(decide_edge, static_argnums=0),
    )
    for decided, still_open in [*expected, expected[-1]]:  # at the end nothing happens
        kept = decide(spec, alpha, kept, score)
        rows = np.zeros(shape, bool)
        rows[list(still_open)] = True
        for edge, primitive in decided.items():
            rows[edge, primitive] = True
        np.testing.assert_array_equal(kept, rows)
    for rows in spec.node_slices:
        inputs = rows.stop - rows.start
        assert kept[rows].sum() == min(spec.keep or inputs, inputs)


def test_decisions_by_hand():
    """Edges 0, 1 enter the first node, 2, 3, 4 the second one; both keep two."""
    spec, alpha = TOY.cells["normal"], np.zeros((5, 3), np.float32)
    alpha[:, 2] = [1, 2, 5, 3, 4]  # the most certain ones are the most important ones
    alpha, kept, order = jnp.asarray(alpha), jnp.ones((5, 3), bool), []
    for _ in range(4):
        kept = decide_edge(spec, alpha, kept, scores(spec, alpha, None, 0))
        order.append([int(n) for n in kept.sum(1)])
    assert order == [[3, 3, 1, 3, 3], [3, 3, 1, 0, 1], [3, 1, 1, 0, 1], [1, 1, 1, 0, 1]]


def test_published_epochs():
    """After epochs 10, 15, ... 45 of 50; short searches decide as much."""
    space = SPACES["darts_cnn"]
    due = decision_epochs(SgasConfig(), space, 50)
    assert due == [10, 15, 20, 25, 30, 35, 40, 45]
    assert decision_epochs(SgasConfig(), space, 1) == [1] * 8
    assert decision_epochs(SgasConfig(), NAS_BENCH_201, 20) == [4, 6, 8, 10, 12, 14]


def test_a_population_decides_as_each_seed():
    relaxation, prune = pruned_softmax(), jax.jit(decisions(TOY, [1, 2, 2]))
    seeds = [relaxation.init(jax.random.key(i), TOY) for i in range(3)]
    seeds = [arch._replace(held=arch.held._replace(memory={})) for arch in seeds]
    epochs = [2, 1, 3]  # two decisions, one, none
    each = [prune(arch, jnp.int32(n)) for arch, n in zip(seeds, epochs, strict=True)]
    assert [int(held.kept["normal"].all(1).sum()) for held in each][1:] == [4, 5]
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *seeds)
    found = jax.vmap(prune)(together, jnp.array(epochs, jnp.int32))
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    assert_close(found, expected, 0.0)


# --- ASAP ---------------------------------------------------------------------------


def test_temperature_and_threshold():
    config, relaxation = AsapConfig(), pruned_softmax(temperature=1.6)
    assert_close(temperature_at(config, 10, 50), 1.6 * 0.95**10, 1e-12)
    assert temperature_at(config, 9, 50) > 1 > temperature_at(config, 10, 50)
    assert_close(temperature_at(config, 2, 10), 1.6 * 0.95**10, 1e-12)
    space = SPACES["darts_cnn"]
    arch = relaxation.init(KEY, space)
    alpha = {kind: normal(i, 14, 8) for i, kind in enumerate(arch.alpha)}
    arch = arch._replace(alpha=alpha)
    prune = jax.jit(pruning(config, relaxation, 10, 50))
    kept = {kind: np.ones((14, 8), bool) for kind in alpha}
    for epoch in (9, 10, 30, 50):  # the last one's temperature is that of epoch 49
        held = prune(arch, epoch)
        t = 1.6 * 0.95 ** min(epoch, 49)
        assert_close(held.temperature, t, 1e-6)
        for kind, logits in alpha.items():
            p = softmax(np.where(kept[kind], logits / t, -np.inf))
            if t < 1:
                kept[kind] = kept[kind] & (p >= 0.4 / 8)
            np.testing.assert_array_equal(held.kept[kind], kept[kind])
            assert kept[kind].any(1).all() and kept[kind].all() == (t >= 1)
        arch = arch._replace(held=held)


# --- searches -----------------------------------------------------------------------

EPOCHS, PER_EPOCH = 5, 2
FAST = dataclasses.replace(SgasConfig().arch, lr=0.5)
CONFIGS = {
    "sgas": SgasConfig(arch=FAST, criterion=2, history=2),
    "asap": AsapConfig(arch=FAST),
}


def build(config, layers=2):
    network = make_supernet(config, TOY, channels=2, layers=layers, classes=3)
    return build_method(config, TOY, network, epochs=EPOCHS, steps_per_epoch=PER_EPOCH)


def batches(step):
    def batch(seed):
        return Batch(normal(seed, 4, 8, 8, 3), np.arange(4, dtype=np.int32) % 3)

    train = jax.tree.map(lambda x: x[None], batch(2 * step))
    return SearchBatches(train, batch(2 * step + 1))


@functools.cache
def search(name):
    """``(method, compiled step, all states)`` of a whole search."""
    method = build(CONFIGS[name])
    step, states = jit(method.step), [method.init(KEY, batches(0).valid.images)]
    for i in range(EPOCHS * PER_EPOCH):
        states.append(step(KEY, states[-1], batches(i))[0])
    return method, step, states


@pytest.mark.parametrize("name", CONFIGS)
def test_a_search_prunes(name):
    """At the ends of epochs only, for good; the genotype is made of what is left."""
    method, _, states = search(name)
    for i, (old, new) in enumerate(zip(states, states[1:], strict=False), 1):
        for kind, kept in new.arch.held.kept.items():
            kept, before = np.asarray(kept), np.asarray(old.arch.held.kept[kind])
            assert not np.any(kept & ~before)
            if i % PER_EPOCH:
                np.testing.assert_array_equal(kept, before)
            mix = np.asarray(method.weights(new.arch)[kind])
            np.testing.assert_array_equal(mix[~kept], 0)
            closed = kept.sum(1) <= 1
            np.testing.assert_array_equal(mix[closed], kept[closed])
            closed = before.sum(1) <= 1
            alphas = new.arch.alpha[kind], old.arch.alpha[kind]
            np.testing.assert_array_equal(*(np.asarray(a)[closed] for a in alphas))
            moved = np.any(np.asarray(alphas[0]) != np.asarray(alphas[1]))
            warm = name == "asap" and temperature_at(CONFIGS[name], (i - 1) // 2, 5) > 1
            assert moved == (not warm and not closed.all())
    final = states[-1].arch
    assert not all(np.all(k) for k in final.held.kept.values())
    for kind, cell in method.discretize(final).cells.items():
        kept, spec = np.asarray(final.held.kept[kind]), TOY.cells[kind]
        for rows, node in zip(spec.node_slices, cell.nodes, strict=True):
            for primitive, source in node:
                column = spec.primitives.index(primitive)
                own = kept[rows.start + source]
                assert own[column] or not own[1:].any()  # only `none` was left


def test_edges_with_nothing_but_none():
    """Their ops go by the logits, and they themselves behind edges that have an op."""
    config = AsapConfig()
    space = SPACES["darts_cnn"]
    network = make_supernet(config, space, channels=2, layers=3, classes=3)
    method = build_method(config, space, network, epochs=50, steps_per_epoch=1)
    arch = pruned_softmax().init(KEY, space)
    alpha = {kind: jnp.asarray(normal(i, 14, 8)) for i, kind in enumerate(arch.alpha)}
    none = SPEC.primitives.index("none")
    kept = np.zeros((14, 8), bool)
    kept[:, none] = True
    kept[4], kept[4, 5] = False, True  # of node 4: its third edge alone has an op
    held = arch.held._replace(kept=dict.fromkeys(alpha, jnp.asarray(kept)))
    found = method.discretize(arch._replace(alpha=alpha, held=held))
    for kind, cell in found.cells.items():
        best = np.delete(alpha[kind], none, 1).argmax(1)
        names = [p for p in SPEC.primitives if p != "none"]
        for source in (0, 1):
            assert (names[best[source]], source) in cell.nodes[0]
        assert cell.nodes[1][0] == (SPEC.primitives[5], 2)


def test_sgas_decides_every_input():
    """At the ends of epochs 1 to 4, from the alphas and choices of then."""
    _, _, states = search("sgas")
    ends = [state.arch for state in states[PER_EPOCH::PER_EPOCH]]
    assert decision_epochs(CONFIGS["sgas"], TOY, EPOCHS) == [1, 2, 2, 2]
    for kind, spec in TOY.cells.items():
        past, kept = jnp.zeros((2, 5, 2)), jnp.ones((5, 3), bool)
        for epoch, (arch, count) in enumerate(zip(ends, [1, 3, 0, 0, 0], strict=True)):
            alpha = arch.alpha[kind]
            score = scores(spec, alpha, past, epoch)
            for _ in range(count):
                kept = decide_edge(spec, alpha, kept, score)
            past = jnp.stack([softmax(alpha[:, 1:]), past[0]])
            np.testing.assert_array_equal(arch.held.kept[kind], kept)
            assert_close(arch.held.memory[kind], past, 1e-6)
        assert [int(np.sum(kept[rows])) for rows in spec.node_slices] == [2, 2]


@pytest.mark.parametrize("name", sorted({*HYPERGRADIENTS} - {"first_order"}))
def test_every_hypergradient(name):
    """By shapes alone: what is held goes through each as a constant."""
    config = dataclasses.replace(
        CONFIGS["sgas"], hypergradient=HypergradientConfig(name)
    )
    method = build(config, layers=1)
    state = jax.eval_shape(lambda: method.init(KEY, batches(0).valid.images))
    after, _ = jax.eval_shape(method.step, KEY, state, batches(0))
    assert shapes(after) == shapes(state)


@pytest.mark.parametrize("name", CONFIGS)
def test_resumes_in_the_middle(name, tmp_path):
    """What is held is in the checkpoint: the search goes on bit for bit."""
    _, step, states = search(name)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(5, states[5], {})
        checkpoints.wait()
        state = checkpoints.restore(states[0]).state
    for i in range(5, EPOCHS * PER_EPOCH):
        state, _ = step(KEY, state, batches(i))
    assert_close(state, states[-1], 0.0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SgasConfig(criterion=3), "--method.criterion: 3; expected 1 or 2"),
        (SgasConfig(history=4), "--method.history: has no effect"),
        (SgasConfig(criterion=2, history=0), "--method.history: 0; expected >= 1"),
        (SgasConfig(decide_from=0.0), "--method.decide-from: 0.0; expected more"),
        (SgasConfig(warmup=0.2), "--method.decide-from: 0.2; expected more than w"),
        (SgasConfig(decide_every=0.3), "at most 0.2667 for 4 decisions"),
        (AsapConfig(temperature=0.0), "--method.temperature: 0.0"),
        (AsapConfig(temperature=30.0), "becomes 3.855 in 5 epochs"),
        (AsapConfig(beta=1.0), "--method.beta: 1.0; expected more than 0, below 1"),
        (AsapConfig(threshold=1.0), "--method.threshold: 1.0; expected at least 0"),
        (AsapConfig(warmup=0.5), "--method.warmup: 0.5, but alpha is trained as soon"),
    ],
)
def test_bad_settings(config, message):
    with pytest.raises(UserError, match=message):
        build(config)
