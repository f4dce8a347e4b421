"""The supernet behind its seam: initial weights, states, layout, errors."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, random_like, shapes

from jdarts import SPACES, Batch, UserError, get_space, jit, supernet
from jdarts.problem import classification
from jdarts.relaxation import softmax
from jdarts.spaces import DARTS_CNN

CHANNELS, LAYERS, CLASSES = 2, 3, 4
TOY = get_space("toy")
KEY = jax.random.key(0)
IMAGES = jax.random.normal(jax.random.key(1), (3, 8, 8, 3))
LABELS = jnp.array([0, 3, 1])


@pytest.fixture(scope="module")
def net():
    """(network, compiled apply, w, model_state, mix, arch, relaxation)."""
    network = supernet(TOY, channels=CHANNELS, layers=LAYERS, classes=CLASSES)
    relaxation = softmax(0.5)
    arch = relaxation.init(jax.random.key(2), TOY)
    w, model_state = network.init(KEY, IMAGES)
    apply = jit(network.apply, static_argnums=4)
    return network, apply, w, model_state, relaxation.weights(arch), arch, relaxation


def test_training_updates_running_statistics(net):
    _, apply, w, model_state, mix, *_ = net
    logits, updated = apply(w, model_state, mix, IMAGES, True)
    assert logits.shape == (len(IMAGES), CLASSES) and logits.dtype == jnp.float32
    assert shapes(updated) == shapes(model_state)
    for path, leaf in jax.tree.leaves_with_path(updated):
        old = model_state
        for key in path:
            old = old[key.key]
        assert not np.array_equal(leaf, old), jax.tree_util.keystr(path)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("rows", [slice(1, None), slice(-1)], ids=["edge", "primitive"])
def test_mixing_weights_of_another_space(net, rows):
    """An edge too few would otherwise get the weights of the last one."""
    network, _, w, model_state, mix, *_ = net
    at = (rows,) if rows.start else (slice(None), rows)
    wrong = mix | {"reduce": mix["reduce"][at]}
    with pytest.raises(AssertionError, match="shape"):
        jax.eval_shape(lambda w: network.apply(w, model_state, wrong, IMAGES, True), w)


def test_training_does_not_read_running_statistics(net):
    _, apply, w, model_state, mix, *_ = net
    logits, _ = apply(w, model_state, mix, IMAGES, True)
    other = jax.tree.map(lambda leaf: leaf + 1, model_state)
    assert_close(apply(w, other, mix, IMAGES, True)[0], logits, 1e-6)
    without, state = apply(w, None, mix, IMAGES, True)
    assert state is None
    assert_close(without, logits, 1e-5)


def test_evaluation_reads_and_keeps_running_statistics(net):
    _, apply, w, model_state, mix, *_ = net
    logits, after = apply(w, model_state, mix, IMAGES, False)
    assert_close(after, model_state, 0.0)
    # Images are independent of each other, as they are not in training.
    alone, _ = apply(w, model_state, mix, IMAGES[:1], False)
    assert_close(alone, logits[:1], 1e-4)
    other = jax.tree.map(lambda leaf: leaf + 1, model_state)
    changed, _ = apply(w, other, mix, IMAGES, False)
    assert np.abs(changed - logits).max() > 1e-3


def test_losses_of_the_problem(net):
    """The hypergradient's loss is the weight step's; only the latter writes states."""
    network, apply, w, model_state, mix, arch, relaxation = net
    problem = classification(network, relaxation.weights)
    batch = Batch(IMAGES, LABELS)
    logits, updated = apply(w, model_state, mix, IMAGES, True)
    rows = logits - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    expected = -rows[jnp.arange(len(LABELS)), LABELS].mean()
    loss, (state, accuracy) = jit(problem.train_loss)(w, model_state, arch, batch)
    assert_close(loss, expected, 1e-5)
    assert_close(state, updated, 1e-5)
    assert accuracy == jnp.mean(logits.argmax(-1) == LABELS)
    assert_close(jit(problem.loss)(w, arch, batch), expected, 1e-5)

    logits, _ = apply(w, model_state, mix, IMAGES, False)
    rows = logits - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    losses = -rows[jnp.arange(len(LABELS)), LABELS]
    mask = jnp.array([1.0, 0.0, 1.0])
    found = jit(problem.evaluate)(w, model_state, arch, batch, mask)
    assert_close(found.loss, losses[0] + losses[2], 1e-4)
    right = logits.argmax(-1) == LABELS
    assert found.correct == right[0] + right[2].astype(jnp.int32)
    assert found.count == 2


def test_gradients_reach_everything(net):
    network, _, w, _, _, arch, relaxation = net
    loss = classification(network, relaxation.weights).loss
    gradients = jit(jax.grad(loss, argnums=(0, 1)))(w, arch, Batch(IMAGES, LABELS))
    for path, leaf in jax.tree.leaves_with_path(gradients):
        assert np.isfinite(leaf).all() and leaf.any(), jax.tree_util.keystr(path)


# --- initial weights ----------------------------------------------------------------


def test_init_is_a_function_of_the_key(net):
    network, _, w, model_state, *_ = net
    again = network.init(KEY, jnp.zeros_like(IMAGES))  # values do not matter
    assert_close(again, (w, model_state), 0.0)
    other, _ = network.init(jax.random.key(9), IMAGES)
    assert not np.allclose(other["head_kernel"], w["head_kernel"])
    compiled = jax.jit(network.init)(KEY, IMAGES)
    assert_close(compiled, again, 1e-6)


def test_initial_weights_are_bounded_by_fan_in(net):
    """Uniform in +-1/sqrt(fan in); no two leaves alike."""
    _, _, w, model_state, *_ = net
    fan_in = {
        "conv": lambda shape: shape[0] * shape[1] * shape[2],
        "head_kernel": lambda shape: shape[0],
        "head_bias": lambda shape: w["head_kernel"].shape[0],
    }
    seen = []
    for path, leaf in jax.tree.leaves_with_path(w):
        name = path[-1].key
        if name in ("scale", "shift"):
            assert (leaf == (name == "scale")).all()
            continue
        if name in fan_in:
            fan = fan_in[name](leaf.shape)
        elif "depthwise" in name:
            fan = leaf.shape[1] * leaf.shape[2]
        else:
            fan = leaf.shape[1]
        bound = 1 / math.sqrt(fan)
        assert np.abs(leaf).max() <= bound, jax.tree_util.keystr(path)
        if leaf.size > 20:
            assert np.abs(leaf).max() > 0.7 * bound, jax.tree_util.keystr(path)
            assert leaf.min() < 0 < leaf.max()
        seen.append(np.asarray(leaf).ravel()[:2].tobytes())
    assert len(set(seen)) == len(seen) > 10
    for path, leaf in jax.tree.leaves_with_path(model_state):
        assert (leaf == (path[-1].key == "var")).all()


def test_dtype_follows_the_images(x64):
    network = supernet(TOY, channels=CHANNELS, layers=LAYERS, classes=CLASSES)
    for dtype in (jnp.float32, jnp.float64):
        image = jax.ShapeDtypeStruct((1, 8, 8, 3), dtype)
        trees = jax.eval_shape(network.init, KEY, image)
        assert {leaf.dtype for leaf in jax.tree.leaves(trees)} == {jnp.dtype(dtype)}


# --- layout -------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [3, 5, 8, 11])
def test_layout_of_the_darts_network(layers):
    """Channels double at cells L // 3 and 2 L // 3; the head sees four nodes."""
    network = supernet(DARTS_CNN, channels=2, layers=layers, classes=CLASSES)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    w, _ = jax.eval_shape(network.init, KEY, image)
    reductions = {layers // 3, 2 * layers // 3}
    assert w["stem"]["conv"].shape == (3, 3, 3, 6)
    channels, before = 2, [6, 6]
    for i in range(layers):
        cell = w[f"cell_{i}"]
        channels *= 2 if i in reductions else 1
        halving = i - 1 in reductions
        first = cell["input_0"]["pointwise_even" if halving else "pointwise"]
        assert first.shape == (1, before[0], channels // (2 if halving else 1))
        assert cell["input_1"]["pointwise"].shape == (1, before[1], channels)
        assert ("skip_connect" in cell["source_0"]) == (i in reductions)
        assert "skip_connect" not in cell["source_2"]
        before = [before[1], 4 * channels]
    assert w["head_kernel"].shape == (before[1], CLASSES)
    assert f"cell_{layers}" not in w


@pytest.mark.parametrize("name", [n for n, s in SPACES.items() if s.task == "images"])
def test_every_space_makes_a_network(name):
    network = supernet(get_space(name), channels=2, layers=3, classes=CLASSES)
    mix = {
        kind: jax.ShapeDtypeStruct((len(s.edges), len(s.primitives)), jnp.float32)
        for kind, s in get_space(name).cells.items()
    }
    image = jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.float32)
    w, model_state = jax.eval_shape(network.init, KEY, image)
    logits, _ = jax.eval_shape(
        lambda *args: network.apply(*args, True), w, model_state, mix, image
    )
    assert logits.shape == (2, CLASSES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 0}, "channels: 0"),
        ({"layers": 0}, "layers: 0"),
        ({"classes": 1}, "classes: 1"),
    ],
)
def test_sizes_out_of_range(change, message):
    sizes = {"channels": 2, "layers": 3, "classes": 10} | change
    with pytest.raises(UserError, match=message):
        supernet(TOY, **sizes)


def test_weights_of_none_are_not_used(net):
    _, apply, w, _, mix, *_ = net
    column = TOY.cells["normal"].primitives.index("none")
    other = {kind: m.at[:, column].add(1.0) for kind, m in mix.items()}
    expected, _ = apply(w, None, mix, IMAGES, True)
    assert_close(apply(w, None, other, IMAGES, True)[0], expected, 1e-6)
    random = random_like(jax.random.key(5), mix)
    assert np.abs(apply(w, None, random, IMAGES, True)[0] - expected).max() > 1e-3


def test_rematerialised_cells_give_the_same_numbers(net):
    network, _, w, model_state, mix, *_ = net
    sizes = {"channels": CHANNELS, "layers": LAYERS, "classes": CLASSES}
    again = supernet(TOY, **sizes, remat=True)
    assert shapes(again.init(KEY, IMAGES)) == shapes((w, model_state))

    def loss(apply):
        def function(w, mix):
            logits, state = apply(w, model_state, mix, IMAGES, True)
            return -jax.nn.log_softmax(logits)[jnp.arange(3), LABELS].mean(), state

        return jit(jax.value_and_grad(function, argnums=(0, 1), has_aux=True))

    found, expected = (loss(n.apply)(w, mix) for n in (again, network))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
