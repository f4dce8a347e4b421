"""Costs against hand counts, and against the networks as they are built."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import enable_x64

from jdarts import ZOO, Genotype, UserError, fixed_network
from jdarts.nets.cost import Cost, NetworkShape, auxiliary_head, network_cost, parts
from jdarts.ops.count import kept_bytes, multiply_adds
from jdarts.spaces import DARTS_CNN, CellGenotype, Connection
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


def test_types_of_another_mode_are_not_remembered():
    shape = NetworkShape(channels=5, layers=3, classes=3, image=(8, 8, 3))
    for enabled, dtype in ((True, "float64"), (False, "float32")):
        with enable_x64(enabled):
            found = parts(random(0), shape, batch=1)
        assert {x.dtype for part in found for x in jax.tree.leaves(part.inputs)} == {
            jnp.dtype(dtype)
        }


def test_auxiliary_head():
    _, with_head, _ = traced(random(3), SMALL, auxiliary=True)
    own = sum(x.size for x in jax.tree.leaves(with_head["auxiliary"]))
    assert auxiliary_head(random(3), SMALL, 2).cost().parameters == own
    small = dataclasses.replace(SMALL, image=(16, 16, 3))
    assert auxiliary_head(random(3), small, 2) is None


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


# Parameters and millions of multiply-adds without the auxiliary head, measured on the
# original PyTorch networks: CIFAR-10 with C = 36 and L = 20, ImageNet with 48 and 14.
MEASURED = {
    "NASNet_A": (3_830_950, 603.5, 5_564_320, 604.0),
    "AmoebaNet_A": (3_145_078, 488.9, 4_627_360, 526.7),
    "DARTS_V1": (3_169_414, 501.0, 4_510_432, 505.9),
    "DARTS_V2": (3_349_342, 528.4, 4_718_752, 529.9),
    "PC_DARTS_cifar": (3_634_678, 556.7, 5_270_560, 571.1),
    "PC_DARTS_image": (3_721_510, 570.5, 5_342_464, 581.6),
    "PDARTS": (3_433_798, 532.2, 4_944_352, 542.8),
    "NASP_12op": (7_363_486, 1103.0, 9_542_944, 1060.1),
    "NASP_7op_StarLight": (3_762_982, 593.4, 5_309_440, 591.8),
    "GDAS_V1": (3_368_782, 519.4, 4_969_216, 537.6),
    "SNAS_mild": (2_661_382, 422.2, 3_939_328, 438.0),
    "SNAS_moderate": (2_847_358, 440.7, 4_312_576, 465.6),
    "SNAS_aggressive": (2_313_622, 374.9, 3_561_952, 395.7),
    "DrNAS_cifar10": (4_099_294, 635.1, 5_738_464, 633.8),
    "DrNAS_imagenet": (4_048_750, 617.9, 5_726_368, 624.4),
    "SGAS_Cri1_C10_best": (3_795_166, 601.7, 5_285_440, 594.8),
    "SGAS_Cri2_C10_best": (4_094_110, 631.7, 5_697_664, 630.0),
}
CIFAR = NetworkShape(36, 20, 10, (32, 32, 3))
IMAGENET = NetworkShape(48, 14, 1000, (224, 224, 3), "imagenet")


@pytest.mark.parametrize("name", MEASURED)
def test_published_networks(name):
    found = []
    for shape in (CIFAR, IMAGENET):
        costs = network_cost(ZOO[name], shape)
        found.append(sum(c.parameters for c in costs))
        found.append(round(sum(c.multiply_adds for c in costs) / 1e6, 1))
    assert tuple(found) == MEASURED[name]


@pytest.mark.parametrize(
    "name, shape, parameters",
    [
        ("DARTS_V2", CIFAR, 476_426),
        ("NASNet_A", CIFAR, 457_994),
        ("DARTS_V2", IMAGENET, 1_260_776),
    ],
)
def test_published_auxiliary_heads(name, shape, parameters):
    assert auxiliary_head(ZOO[name], shape, 1).cost().parameters == parameters


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

    # JAX 0.7 keeps the second form, too.
    forms = 2 if jax.__version_info__ < (0, 8) else 1
    assert kept_bytes(twice, x, w) == forms * 10 * 3 * 4


def test_kept_bytes_of_the_parts_are_those_of_the_network():
    """Nothing is counted twice or forgotten between the parts."""
    batch, genotype = 2, random(4)
    network, w, statistics = traced(genotype, SMALL, batch, scan=False)

    def logits(w, statistics, images):
        return network.apply(w, statistics, -images, True)[0].logits

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
