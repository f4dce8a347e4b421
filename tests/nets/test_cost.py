"""Costs against hand counts, and against the networks as they are built."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdarts.errors import UserError
from jdarts.nets.cost import Cost, NetworkShape, auxiliary_head, network_cost, parts
from jdarts.nets.fixed import fixed_network
from jdarts.ops.count import kept_bytes, multiply_adds
from jdarts.spaces import DARTS_CNN, CellGenotype, Connection, Genotype
from jdarts.spaces.random import random_genotype

SMALL = NetworkShape(channels=4, layers=6, classes=5, image=(32, 32, 3))
MOBILE = NetworkShape(
    channels=4, layers=3, classes=5, image=(224, 224, 3), stem="imagenet"
)


def random(seed):
    return random_genotype(DARTS_CNN, np.random.default_rng(seed))


def everywhere(primitive):
    """Both cells have two nodes, with that primitive on both inputs."""
    node = Connection(primitive, 0), Connection(primitive, 1)
    cell = CellGenotype((node, node), (2, 3))
    return Genotype("darts_cnn", {"normal": cell, "reduce": cell})


def build(genotype, shape, **options):
    return fixed_network(
        genotype,
        channels=shape.channels,
        layers=shape.layers,
        classes=shape.classes,
        stem=shape.stem,
        **options,
    )


def traced(genotype, shape, batch=1, **options):
    """A network, and its weights and statistics in shapes."""
    network = build(genotype, shape, **options)
    state = jax.eval_shape(network.init, jax.random.key(0), shape.images(batch))
    return network, *state


@pytest.mark.parametrize("shape", [SMALL, MOBILE], ids=["cifar", "imagenet"])
def test_parameters_and_multiply_adds_are_those_of_the_network(shape):
    """Of the network as built, with equal cells in a loop."""
    genotype = random(0)
    costs = network_cost(genotype, shape)
    network, w, statistics = traced(genotype, shape)
    assert sum(c.parameters for c in costs) == sum(x.size for x in jax.tree.leaves(w))

    def logits(w, statistics, images):
        return network.apply(w, statistics, images, False)[0].logits

    total = multiply_adds(logits, w, statistics, shape.images(1))
    assert sum(c.multiply_adds for c in costs) == total


def test_remembered_costs_are_those_of_the_parts():
    for seed in (1, 2):
        found = parts(random(seed), SMALL, 3)
        assert network_cost(random(seed), SMALL) == [part.cost() for part in found]
    assert [p.name for p in found][:3] == ["stem", "cell 0, normal", "cell 1, normal"]
    assert found[3].name == "cell 2, reduce" and found[-1].name == "head"


def test_auxiliary_head():
    _, with_head, _ = traced(random(3), SMALL, auxiliary=True)
    own = sum(x.size for x in jax.tree.leaves(with_head["auxiliary"]))
    assert auxiliary_head(random(3), SMALL, 2).cost().parameters == own


def test_hand_count():
    """One cell of identities at width 4: only the stem, the adapters and the head."""
    shape = NetworkShape(channels=4, layers=1, classes=5, image=(8, 8, 3))
    stem, cell, head = network_cost(everywhere("skip_connect"), shape)
    pixels, wide = 64, 12
    assert stem == Cost(9 * 3 * wide + 2 * wide, 9 * 3 * wide * pixels)
    # a single cell stands at both a third and two thirds: it reduces, so that each skip
    # is a factorised reduction: two 1x1 convolutions of half the width on 4 x 4 pixels
    width = 8
    adapters = Cost(2 * (wide * width + 2 * width), 2 * wide * width * pixels)
    reductions = Cost(4 * (width**2 + 2 * width), 4 * width**2 * pixels // 4)
    assert cell == adapters.plus(reductions)
    assert head == Cost(2 * width * 5 + 5, 2 * width * 5)


def by_hand(primitive, channels, pixels, stride):
    """(parameters, multiply-adds) of one connection."""
    out, norm = pixels // stride**2, 2 * channels
    kernel = int(primitive.rstrip("0123456789").count("x") and primitive[-1])
    if "pool" in primitive:
        return 0, 0
    stage = kernel**2 * channels + channels**2
    stages = 2 if primitive.startswith("sep") else 1
    return stages * (stage + norm), stages * stage * out


@pytest.mark.parametrize(
    "primitive",
    ["max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_5x5"],
)
def test_hand_count_of_ops(primitive):
    shape = NetworkShape(channels=4, layers=4, classes=5, image=(16, 16, 3))
    found = network_cost(everywhere(primitive), shape)
    without = network_cost(everywhere("none"), shape)
    normal, reduce = 1, 2  # cells 0 and 1; cells 1 and 2 reduce
    for place, channels, stride in ((normal, 4, 1), (reduce, 8, 2)):
        parameters, operations = by_hand(primitive, channels, 16 * 16, stride)
        expected = without[place].plus(Cost(4 * parameters, 4 * operations))
        assert found[place] == expected


def test_line_convolutions_at_stride_two():
    """1 x 7 with stride (1, 2), then 7 x 1 with stride (2, 1)."""
    shape = NetworkShape(channels=4, layers=1, classes=5, image=(8, 8, 3))
    found = network_cost(everywhere("conv_7x1_1x7"), shape)[1]
    without = network_cost(everywhere("none"), shape)[1]
    weights = 7 * 8 * 8
    each = Cost(2 * weights + 16, weights * 8 * 4 + weights * 4 * 4)
    assert found == without.plus(Cost(4 * each.parameters, 4 * each.multiply_adds))


# --- activation memory


def test_kept_bytes_by_hand():
    x = jax.ShapeDtypeStruct((10, 3), jnp.float32)
    w = jax.ShapeDtypeStruct((3, 7), jnp.float32)
    assert kept_bytes(lambda x: 2 * x + 1, x) == 0  # linear
    assert kept_bytes(lambda x, w: x @ w, x, w) == 0  # only the arguments are read
    assert kept_bytes(jnp.exp, x) == 10 * 3 * 4  # its own value
    assert kept_bytes(jax.nn.relu, x) == 10 * 3  # a bool for each value
    # relu(x) is read by the product, the mask by the activation
    assert kept_bytes(lambda x, w: jax.nn.relu(x) @ w, x, w) == 10 * 3 * (1 + 4)

    # once, however often it is read and whatever its form
    def twice(x, w):
        y = jnp.exp(x)
        return y @ w + y.reshape(1, 10, 3)[0] @ w

    assert kept_bytes(twice, x, w) == 10 * 3 * 4


def test_kept_bytes_of_the_parts_are_those_of_the_network():
    """Nothing is counted twice or forgotten between the parts."""
    batch, genotype = 2, random(4)
    network, w, statistics = traced(genotype, SMALL, batch, scan=False)

    def logits(w, statistics, images):
        return network.apply(w, statistics, images, True)[0].logits

    whole = kept_bytes(logits, w, statistics, SMALL.images(batch))
    assert sum(part.kept_bytes() for part in parts(genotype, SMALL, batch)) == whole


def test_kept_bytes_grow_with_the_batch():
    shape = dataclasses.replace(SMALL, layers=3)

    def kept(batch):
        return [part.kept_bytes() for part in parts(random(6), shape, batch)]

    one, two, three = map(np.array, (kept(1), kept(2), kept(3)))
    np.testing.assert_array_equal(three - two, two - one)
    assert (2 * (two - one) > 0.9 * two).all()  # the rest: statistics of channels


# --- parts can be run; what makes no network is refused


def test_parts_run_one_after_the_other_are_the_network():
    nodes = (("sep_conv_3x3", 0), ("max_pool_3x3", 1)), (("skip_connect", 0),)
    cell = CellGenotype(tuple(tuple(Connection(*c) for c in n) for n in nodes), (2, 3))
    genotype = Genotype("darts_cnn", {"normal": cell, "reduce": cell})
    key = jax.random.key(0)
    shape = dataclasses.replace(SMALL, layers=3, image=(8, 8, 3))
    stem, *cells, head = parts(genotype, shape, 2)
    network = build(genotype, shape, scan=False)
    images = jax.random.normal(key, (2, 8, 8, 3))
    w, statistics = network.init(key, images)

    def run(part, name, inputs):
        own = {"params": w[name], "batch_stats": statistics.get(name, {})}
        return jax.jit(part.apply)(own, inputs)

    values = run(stem, "stem", images)
    for i, cell in enumerate(cells):
        values = values[1], run(cell, f"cell_{i}", values)
    logits = run(head, "head", values[1])
    expected, _ = network.apply(w, statistics, images, False)
    np.testing.assert_allclose(logits, expected.logits, rtol=1e-5, atol=1e-5)
    shapes = jax.eval_shape(stem.init, key)["params"]
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, w["stem"])


def test_equal_cells_are_the_same():
    shape = dataclasses.replace(SMALL, layers=20)
    keys = [part.same for part in parts(random(8), shape, 1)]
    # the stem; the first cell, the second, the other four of the first third; each
    # reduction, the cell after it and the other five; the head
    assert len(set(keys)) == 1 + 3 + 3 + 3 + 1


@pytest.mark.parametrize(
    "change, part",
    [
        ({"channels": 0}, "--channels: 0"),
        ({"layers": 0}, "--layers: 0"),
        ({"classes": 1}, "--classes: 1"),
        ({"stem": "mobile"}, "--stem: unknown 'mobile'"),
        ({"image": (30, 32, 3)}, "30 x 32 pixels"),
    ],
)
def test_no_such_network(change, part):
    with pytest.raises(UserError, match=part):
        dataclasses.replace(SMALL, **change).check(random(9))
