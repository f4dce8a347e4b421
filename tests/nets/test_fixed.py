"""The derived network: layout, scanning, drop path, both heads, statistics, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, shapes

from jdarts import ZOO, DropPath, Genotype, UserError, fixed_network, jit, tree
from jdarts.nets.fixed_cell import FixedCell
from jdarts.nets.paths import path_masks
from jdarts.ops.init import draw
from jdarts.spaces import CellGenotype, Connection

KEY = jax.random.key(0)
IMAGES = jax.random.normal(jax.random.key(1), (3, 8, 8, 3))
CLASSES = 4


def toy(*nodes, concat=(2, 3)):
    """One genotype for both cell types."""
    made = tuple(tuple(Connection(*edge) for edge in node) for node in nodes)
    cell = CellGenotype(made, concat)
    return Genotype("toy", {"normal": cell, "reduce": cell})


GENOTYPE = toy(
    [("sep_conv_3x3", 0), ("skip_connect", 1)], [("max_pool_3x3", 0), ("none", 2)]
)


def build(genotype=GENOTYPE, **options):
    sizes = {"channels": 2, "layers": 4, "classes": CLASSES} | options
    return fixed_network(genotype, **sizes)


@pytest.fixture(scope="module")
def net():
    """(network, compiled apply, w, statistics)."""
    network = build()
    apply = jit(network.apply, static_argnums=3)
    return network, apply, *network.init(KEY, IMAGES)


# --- layout ---------------------------------------------------------------------------


def test_reductions_and_runs():
    """L = 20: reductions at 6 and 13, and 9 bodies instead of 20."""
    sizes = {"channels": 4, "layers": 20, "auxiliary": True}
    network = build(ZOO["DARTS_V2"], **sizes, scan=True)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    w, _ = jax.eval_shape(network.init, KEY, image)
    alone, runs = {0, 1, 6, 7, 13, 14}, [(2, 5), (8, 12), (15, 19)]
    cells = {f"cell_{i}" for i in alone} | {f"cells_{a}_{b}" for a, b in runs}
    assert w.keys() == cells | {"stem", "head", "auxiliary"}
    for first, last in runs:
        for leaf in jax.tree.leaves(w[f"cells_{first}_{last}"]):
            assert leaf.shape[0] == last - first + 1
    assert w["head"]["kernel"].shape == (4 * 4 * 4, CLASSES)
    assert "pointwise_even" in w["cell_7"]["input_0"]
    assert "pointwise" in w["cells_8_12"]["input_0"]


def test_scanned_cells_are_those_one_by_one(x64):
    def separate(tree):
        """``cells_2_3`` -> ``cell_2``, ``cell_3``."""
        found = {}
        for name, part in tree.items():
            if not name.startswith("cells_"):
                found[name] = part
                continue
            first, last = map(int, name.split("_")[1:])
            for i in range(first, last + 1):
                row = i - first
                found[f"cell_{i}"] = jax.tree.map(lambda leaf, r=row: leaf[r], part)
        return found

    images = IMAGES.astype(jnp.float64)
    together, single = build(layers=12, scan=True), build(layers=12)
    w, stats = together.init(KEY, images)
    assert {"cells_2_3", "cells_6_7", "cells_10_11"} <= w.keys()
    key = DropPath(jax.random.key(5), 0.3)

    def loss(network, w, stats):
        out, stats = network.apply(w, stats, images, True, key)
        return jnp.square(out.logits).sum(), (out, stats)

    run = jax.value_and_grad(loss, argnums=1, has_aux=True)
    (_, (out, after)), gradient = jit(run, static_argnums=0)(together, w, stats)
    others = separate(w), separate(stats)
    (_, (expected, state)), grad = jit(run, static_argnums=0)(single, *others)
    assert_close(out.logits, expected.logits, 1e-12)
    assert_close(separate(after), state, 1e-11)
    assert_each_leaf(separate(gradient), grad)


def assert_each_leaf(found, expected):
    """Each gradient in float64 by its own size; some are zero but for rounding."""
    rounding = 1e-12 * float(tree.norm(expected))
    leaves = map(jax.tree.leaves, (found, expected))
    for a, b in zip(*leaves, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9 * np.abs(b).max() + rounding)


def test_rematerialised_cells_give_the_same_numbers(x64):
    images, network = IMAGES.astype(jnp.float64), build()
    w, stats = network.init(KEY, images)

    def loss(network, w):
        return jnp.square(network.apply(w, stats, images, True)[0].logits).sum()

    gradient = jit(jax.grad(loss, argnums=1), static_argnums=0)
    assert_each_leaf(gradient(build(remat=True), w), gradient(network, w))


def test_nodes_are_sums_and_outputs_are_chosen(x64):
    """With identities only, a normal cell's output is known by hand."""
    nodes = [("skip_connect", 0), ("skip_connect", 1)], [("skip_connect", 2)] * 2
    images = IMAGES.astype(jnp.float64)
    inputs, width = (images, images[..., ::-1] ** 2), 3

    def adapted(number):
        """ReLU, a dense product, and the batch's values with mean 0 and variance 1."""
        x = np.maximum(inputs[number], 0) @ w[f"input_{number}"]["pointwise"][0]
        return (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)

    for concat in ((3,), (2, 3), (3, 0)):
        cell = toy(*nodes, concat=concat).cells["normal"]
        cell = FixedCell(cell, width, 1, False, True)
        w = _drawn(cell, inputs)
        node = adapted(0) + adapted(1)
        values = {0: adapted(0), 2: node, 3: 2 * node}
        expected = np.concatenate([values[i] for i in concat], axis=-1)
        assert_close(_output(cell, w, inputs, None), expected, 1e-10)


def test_nodes_without_inputs_are_zero(net):
    """A node that `none` alone enters, and an empty one, change nothing."""
    empty = toy([("sep_conv_3x3", 0)], [], [("none", 1), ("none", 0)], concat=(2, 3, 4))
    network = build(empty, layers=3)
    w, stats = network.init(KEY, IMAGES)
    kernel = w["head"]["kernel"]  # [3 nodes of 8 channels, class]
    changed = w | {"head": w["head"] | {"kernel": kernel.at[8:].add(1.0)}}
    apply = jit(network.apply, static_argnums=3)
    out, expected = (apply(v, stats, IMAGES, False)[0].logits for v in (changed, w))
    assert_close(out, expected, 0.0)


# --- heads ----------------------------------------------------------------------------


def test_auxiliary_logits_only_where_asked_for(net):
    _, apply, w, stats = net
    assert apply(w, stats, IMAGES, True)[0].auxiliary is None
    network = build(auxiliary=True)
    image = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    w, stats = jax.eval_shape(network.init, KEY, image)
    for train in (True, False):
        out, _ = jax.eval_shape(
            lambda *args, train=train: network.apply(*args, train), w, stats, image
        )
        assert out.auxiliary.shape == out.logits.shape == (2, CLASSES)
    sizes = {"channels": 4, "stem": "imagenet", "auxiliary": True}
    network = build(**sizes)
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    w, stats = jax.eval_shape(network.init, KEY, image)
    assert "bn_1" not in w["auxiliary"] and "bn_0" in w["auxiliary"]
    out, _ = jax.eval_shape(lambda *a: network.apply(*a, True), w, stats, image)
    assert out.auxiliary.shape == (1, CLASSES)


# --- statistics and types -------------------------------------------------------------


def test_only_training_updates_running_statistics(net):
    _, apply, w, stats = net
    _, after = apply(w, stats, IMAGES, False)
    assert_close(after, stats, 0.0)
    _, after = apply(w, stats, IMAGES, True)
    assert shapes(after) == shapes(stats)
    for path, leaf in jax.tree.leaves_with_path(after):
        old = stats
        for key in path:
            old = old[key.key]
        assert not np.array_equal(leaf, old), jax.tree_util.keystr(path)


def test_evaluation_reads_running_statistics(net):
    _, apply, w, stats = net
    logits = apply(w, stats, IMAGES, False)[0].logits
    alone = apply(w, stats, IMAGES[:1], False)[0].logits
    assert_close(alone, logits[:1], 1e-4)  # images are independent of each other
    other = jax.tree.map(lambda leaf: leaf + 1, stats)
    assert np.abs(apply(w, other, IMAGES, False)[0].logits - logits).max() > 1e-3


def test_bfloat16_keeps_float32_state(net):
    network, apply, w, stats = net
    narrow = build(dtype=jnp.bfloat16)
    out, after = jit(narrow.apply, static_argnums=3)(w, stats, IMAGES, True)
    expected, _ = apply(w, stats, IMAGES, True)
    assert out.logits.dtype == jnp.float32
    assert shapes(after) == shapes(stats)
    scale = np.abs(expected.logits).max()
    np.testing.assert_allclose(out.logits, expected.logits, atol=0.03 * scale)


# --- drop path ------------------------------------------------------------------------


def test_masks_keep_the_expectation():
    rate, shape = 0.3, (5, 7, 400)
    masks = np.asarray(path_masks(KEY, rate, shape))
    np.testing.assert_allclose(np.unique(masks), [0.0, 1 / (1 - rate)], rtol=1e-6)
    deviation = np.sqrt(rate / (1 - rate) / masks.size)
    assert abs(masks.mean() - 1) < 4 * deviation
    # Every cell, every connection and every image has its own.
    assert len({row.tobytes() for row in masks.reshape(35, 400)}) == 35
    assert 0 < (masks[0, :, 0] == 0).mean() < 1 or 0 < (masks[:, 0, 0] == 0).mean() < 1


def test_dropped_paths_by_hand(x64):
    """One cell: with all droppable paths dropped, only identities are left."""
    genotype = toy([("skip_connect", 1), ("sep_conv_3x3", 0)], concat=(2,))
    only = toy([("skip_connect", 1)], concat=(2,))
    images = IMAGES.astype(jnp.float64)
    cells = [FixedCell(g.cells["normal"], 3, 1, False, True) for g in (genotype, only)]
    inputs = images, images
    count, batch = len(genotype.cells["normal"].connections), len(images)
    w = _drawn(cells[0], inputs)
    masks = jnp.zeros((count, batch)).at[1, 0].set(2.0)  # keeps image 0's other path
    found = _output(cells[0], w, inputs, masks)
    whole = _output(cells[0], w, inputs, None)
    rest = {name: part for name, part in w.items() if name != "op_1"}
    identity = _output(cells[1], rest, inputs, None)
    assert_close(found[1:], identity[1:], 1e-12)
    assert_close(found[0] - identity[0], 2.0 * (whole[0] - identity[0]), 1e-10)


def _drawn(cell, inputs):
    boxed = jax.eval_shape(lambda x: cell.init(KEY, x, None), inputs)
    return draw(KEY, boxed["params"])


def _output(cell, w, inputs, masks):
    return cell.apply({"params": w}, inputs, masks)[0][1]


def test_drop_path_in_training_only(net):
    _, apply, w, stats = net
    dropped = DropPath(jax.random.key(3), 0.5)
    plain = apply(w, stats, IMAGES, False)[0].logits
    assert_close(apply(w, stats, IMAGES, False, dropped)[0].logits, plain, 0.0)
    plain = apply(w, stats, IMAGES, True)[0].logits
    out = apply(w, stats, IMAGES, True, dropped)[0].logits
    assert np.abs(out - plain).max() > 1e-3
    none = apply(w, stats, IMAGES, True, DropPath(jax.random.key(3), 0.0))[0].logits
    assert_close(none, plain, 1e-5)


# --- bad input ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "--channels: 0; expected at least 1"),
        ({"classes": 1}, "--classes: 1; expected at least 2"),
        ({"stem": "imagent"}, "did you mean 'imagenet'"),
        ({"stem": "imagenet", "channels": 3}, "an even number"),
        ({"genotype": toy([("sep_conv_3x4", 0)], concat=(2,))}, "'sep_conv_3x3'"),
        (
            {"genotype": toy([("none", 2)], concat=(2,))},
            "reads node 2, expected 0 to 1",
        ),
        ({"genotype": toy([("none", 0)], concat=(3,))}, "concat names node 3"),
        ({"genotype": toy([("none", 0)], concat=())}, "concat names no node"),
        ({"genotype": ZOO["RNN_ENAS"]}, "expected normal and reduce"),
    ],
)
def test_bad_networks(options, message):
    with pytest.raises(UserError, match=message) as caught:
        build(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "side", "message"),
    [
        ({"layers": 4}, 10, "expected a height and a width that 4 divides"),
        ({"auxiliary": True}, 16, "at least 32 x 32"),
        ({"auxiliary": True, "stem": "imagenet"}, 192, "at least 224 x 224"),
        ({"stem": "imagenet"}, 48, "that 32 divides"),
    ],
)
def test_images_of_a_wrong_size(options, side, message):
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    network = build(**options)
    with pytest.raises(UserError, match=message):
        network.init(KEY, image)
