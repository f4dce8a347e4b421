"""Every row of METHODS keeps the contract of a search method, on the toy space."""

import dataclasses
import functools
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, shapes

from jdarts import (
    METHODS,
    Batch,
    DartsConfig,
    HypergradientConfig,
    SearchBatches,
    UserError,
    build_method,
    get_space,
    jit,
    make_supernet,
    supernet,
)
from jdarts.methods import get_method, method_table

# A cell of each kind.
SPACE = dataclasses.replace(get_space("toy"), reductions=((1, 2),))
LAYERS = 2
CLASSES, SIZE, BATCH = 3, 8, 12
KEY = jax.random.key(0)
METRICS = {
    "train_loss",
    "train_accuracy",
    "valid_loss",
    "gradient_norm",
    "arch_gradient_norm",
    "lr",
}


def easy_batch(step, which):
    """Images whose mean colour is their class."""
    random = np.random.default_rng((step, which))
    labels = random.integers(CLASSES, size=BATCH)
    images = 0.5 * random.normal(size=(BATCH, SIZE, SIZE, 3))
    images += 2 * np.eye(3)[labels][:, None, None]
    return Batch(jnp.asarray(images, jnp.float32), jnp.asarray(labels, jnp.int32))


def batches(step, count):
    train = [easy_batch(step, k) for k in range(count)]
    train = jax.tree.map(lambda *leaves: jnp.stack(leaves), *train)
    return SearchBatches(train=train, valid=easy_batch(step, 1000))


@functools.cache
def build(name):
    """(method, compiled step, a list with an entry for each time it was traced)."""
    config = METHODS[name].config()
    network = make_supernet(config, SPACE, channels=4, layers=LAYERS, classes=CLASSES)
    method = build_method(config, SPACE, network, epochs=10, steps_per_epoch=4)
    traced = []

    def step(key, state, batches):
        traced.append(name)
        return method.step(key, state, batches)

    return method, jit(step), traced


def start(method):
    return method.init(KEY, easy_batch(0, 0).images)


@pytest.mark.parametrize("name", METHODS)
def test_search(name):
    """A whole search: the state keeps its form, metrics are finite, the loss falls.

    At its start or but at its end some methods leave the architecture as it is.
    """
    method, step, traced = build(name)
    state = first = start(method)
    form, history = shapes(state), []
    for i in range(40):
        state, metrics = step(KEY, state, batches(i, method.train_batches))
        assert shapes(state) == form
        assert set(metrics) >= METRICS
        for key, value in metrics.items():
            assert jnp.shape(value) == () and jnp.isfinite(value), key
        history.append(float(metrics["train_loss"]))
    assert state.step == 40 and traced == [name]
    assert np.mean(history[-5:]) < 0.8 * np.mean(history[:5])
    learnt = state.arch.learnt, first.arch.learnt
    for new, old in zip(*map(jax.tree.leaves, learnt), strict=True):
        assert not np.array_equal(new, old)
    genotype = method.discretize(state.arch)
    assert genotype.space == SPACE.name and set(genotype.cells) == set(SPACE.cells)
    # The running statistics have followed: evaluation works as well.
    batch = easy_batch(99, 0)
    found = jit(method.evaluate)(state, batch, jnp.ones(BATCH))
    assert found.count == BATCH and 0 <= found.correct <= BATCH
    assert jnp.isfinite(found.loss)


@pytest.mark.parametrize("name", METHODS)
def test_steps_repeat(name):
    """The same key, state and batches give the same bits."""
    method, step, _ = build(name)
    data = batches(0, method.train_batches)
    assert_close(step(KEY, start(method), data), step(KEY, start(method), data), 0.0)
    other = method.init(jax.random.key(7), easy_batch(0, 0).images)
    assert not np.array_equal(other.w["head_kernel"], start(method).w["head_kernel"])


@pytest.mark.parametrize("name", METHODS)
def test_first_steps_read_a_validation_batch_unless_they_judge_nothing(name):
    method, step, _ = build(name)
    data = batches(0, method.train_batches)
    nothing = data.valid._replace(images=jnp.full_like(data.valid.images, jnp.nan))
    state, metrics = step(KEY, start(method), data._replace(valid=nothing))
    read = bool(jnp.isnan(metrics["valid_loss"]))
    one_level = name == "snas"  # its validation batch is the training batch
    assert read == (method.unjudged_steps == 0 and not one_level)
    if method.unjudged_steps:
        assert_close(state, step(KEY, start(method), data)[0], 0.0)
        assert metrics["valid_loss"] == 0


@pytest.mark.parametrize("name", METHODS)
def test_mixing_weights(name):
    method, *_ = build(name)
    mix = method.weights(start(method).arch)
    for kind, spec in SPACE.cells.items():
        assert mix[kind].shape == (len(spec.edges), len(spec.primitives))
        assert jnp.isfinite(mix[kind]).all() and (mix[kind] >= 0).all()


@pytest.mark.parametrize("name", METHODS)
def test_only_the_weight_step_writes_running_statistics(name):
    """After one step they are 0.9 old + 0.1 of the *training* batch, nothing else."""
    method, step, _ = build(name)
    data = batches(0, method.train_batches)
    state, _ = step(KEY, start(method), data)
    images = data.train.images[0]
    stem = start(method).w["stem"]["conv"]
    y = jax.lax.conv_general_dilated(
        images, stem, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    stats = state.model_state["stem"]["bn"]
    assert_close(stats["mean"][0], 0.1 * y.mean((0, 1, 2)), 1e-4)
    var = np.var(np.asarray(y, np.float64), axis=(0, 1, 2), ddof=1)
    assert_close(stats["var"][0], 0.9 + 0.1 * var, 1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_row(name):
    row = get_method(name)
    assert (
        dataclasses.is_dataclass(row.config) and row.config.__dataclass_params__.frozen
    )
    assert row.relaxation and row.mixer and row.projection and row.reference


def test_table_of_methods():
    """The README holds the table that the code prints."""
    table = subprocess.run(
        [sys.executable, "-m", "jdarts.methods"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    readme = Path(__file__).resolve().parents[2] / "README.md"
    assert table in readme.read_text()
    assert table.strip() == method_table()
    for name, row in METHODS.items():
        assert f"| `{name}` | {row.relaxation} |" in table


# --- a space whose edges have their own primitives ---------------------------------

UNEVEN = dataclasses.replace(
    SPACE,
    cells={
        kind: dataclasses.replace(
            spec,
            edge_primitives=tuple(
                spec.primitives[1:] if row % 2 else spec.primitives[-2:]
                for row in range(len(spec.edges))
            ),
        )
        for kind, spec in SPACE.cells.items()
    },
)


def test_darts_where_edges_have_primitives_of_their_own():
    """What an edge does not have gets no weight, and is in no genotype."""
    config = DartsConfig()
    network = make_supernet(config, UNEVEN, channels=4, layers=LAYERS, classes=CLASSES)
    method = build_method(config, UNEVEN, network, epochs=10, steps_per_epoch=4)
    state, run = start(method), jit(method.step)
    for step in range(2):
        state, _ = run(KEY, state, batches(step, 1))
    for kind, spec in UNEVEN.cells.items():
        offered = np.array(spec.offered)
        alpha, mix = state.arch.alpha[kind], method.weights(state.arch)[kind]
        assert not mix[~offered].any() and not alpha[~offered].any()
        assert (np.asarray(mix)[offered] > 0).all() and alpha[offered].all()
        for target, node in enumerate(
            method.discretize(state.arch).cells[kind].nodes, spec.inputs
        ):
            for name, source in node:
                row = spec.edges.index((source, target))
                assert name in UNEVEN.cells[kind].edge_primitives[row]


@pytest.mark.parametrize(
    "name", [n for n, r in METHODS.items() if not r.own_primitives]
)
def test_methods_that_cannot_search_such_a_space(name):
    config, space = METHODS[name].config(), get_space("s1")
    network = supernet(space, channels=2, layers=3, classes=CLASSES)
    message = f"--method: {name} with --space s1, .*expected darts there"
    with pytest.raises(UserError, match=message):
        build_method(config, space, network, epochs=1, steps_per_epoch=1)


def test_unknown_method():
    with pytest.raises(UserError, match="did you mean 'darts'"):
        get_method("dart")


# --- DARTS --------------------------------------------------------------------------


def test_architecture_moves_before_the_weights():
    """The reported losses: validation at the old architecture, training at the new."""
    network = supernet(SPACE, channels=4, layers=LAYERS, classes=CLASSES)
    config = DartsConfig(hypergradient=HypergradientConfig("first_order"))
    config = dataclasses.replace(config, init_scale=0.5)
    config = dataclasses.replace(config, arch=dataclasses.replace(config.arch, lr=1.0))
    method = build_method(config, SPACE, network, epochs=1, steps_per_epoch=1)
    data, old = batches(0, 1), start(method)
    new, metrics = jit(method.step)(KEY, old, data)

    @jit
    def loss(arch, batch):
        logits, _ = network.apply(old.w, None, method.weights(arch), batch.images, True)
        rows = jax.nn.log_softmax(logits)
        return -rows[jnp.arange(BATCH), batch.labels].mean()

    train = Batch(*(x[0] for x in data.train))
    assert_close(metrics["valid_loss"], loss(old.arch, data.valid), 1e-4)
    assert_close(metrics["train_loss"], loss(new.arch, train), 1e-4)
    assert abs(loss(old.arch, train) - loss(new.arch, train)) > 1e-3


def test_simultaneous_steps():
    """The architecture's as ever, the weights' at the old one, for less work."""
    network = supernet(SPACE, channels=4, layers=LAYERS, classes=CLASSES)
    found = {}
    for simultaneous in (False, True):
        config = DartsConfig(init_scale=0.5, simultaneous=simultaneous)
        arch = dataclasses.replace(config.arch, lr=1.0)
        config = dataclasses.replace(config, arch=arch)
        method = build_method(config, SPACE, network, epochs=1, steps_per_epoch=1)
        data, old = batches(0, 1), start(method)
        step = jit(method.step).lower(KEY, old, data).compile()
        found[simultaneous] = (*step(KEY, old, data), step.cost_analysis())
    (after, _, work), (both, metrics, less_work) = found[False], found[True]
    assert_close(both.arch, after.arch, 1e-5)
    assert less_work["bytes accessed"] < 0.95 * work["bytes accessed"]

    def loss(w):
        image, label = (x[0] for x in data.train)
        logits, _ = network.apply(w, None, method.weights(old.arch), image, True)
        return -jax.nn.log_softmax(logits)[jnp.arange(BATCH), label].mean()

    value, gradient = jit(jax.value_and_grad(loss))(old.w)
    assert_close(metrics["train_loss"], value, 1e-5)
    norm = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(gradient)))
    assert_close(metrics["gradient_norm"], norm, 1e-4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DartsConfig(init_scale=-1.0), "--method.init-scale: -1.0"),
        (
            DartsConfig(HypergradientConfig("first_order"), clip_virtual=True),
            "--method.clip-virtual: has no effect",
        ),
        (
            DartsConfig(HypergradientConfig("neumann"), clip_virtual=True),
            "'neumann'; expected --method.no-clip-virtual",
        ),
        (DartsConfig(HypergradientConfig("unrolled", steps=0)), "steps: 0"),
    ],
)
def test_bad_darts_settings(config, message):
    network = supernet(SPACE, channels=4, layers=LAYERS, classes=CLASSES)
    with pytest.raises(UserError, match=message):
        build_method(config, SPACE, network, epochs=1, steps_per_epoch=1)
