"""A network of all primitives."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jdarts import Genotype, fixed_network
from jdarts.exports import named_weights
from jdarts.exports.inference import InferenceNetwork
from jdarts.ops import DRAWING, OPS
from jdarts.spaces import CellGenotype, Connection

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def all_primitives():
    """Every primitive from an input (stride 2 in a reduction) and from a node (stride
    1); the last node has nothing but `none`."""
    names = [name for name in OPS if name != "none" and name not in DRAWING]
    nodes = [
        (Connection(name, i % 2), Connection(name, 2 if i else 1))
        for i, name in enumerate(names)
    ]
    nodes.append((Connection("none", 0), Connection("none", 2)))
    cell = CellGenotype(tuple(nodes), tuple(range(2, 2 + len(nodes))))
    return Genotype("all", {"normal": cell, "reduce": cell})


def few_primitives():
    """Two nodes, of which only one is an output."""
    first = (Connection("max_pool_3x3", 0), Connection("skip_connect", 1))
    second = (Connection("conv_1x1", 2), Connection("skip_connect", 0))
    normal = CellGenotype((first, second), (3,))
    reduce = CellGenotype((second[1:], first), (2, 3))
    return Genotype("few", {"normal": normal, "reduce": reduce})


# Stem: genotype, number of cells, side of the images. One cell is a reduction; three
# are a normal cell, a reduction, and a reduction behind one.
CASES = {
    "cifar": (all_primitives(), 1, 8),
    "imagenet": (few_primitives(), 3, 32),
}


def shaken(tree, rng):
    """Weights and statistics as after some training: nothing is 0 or 1."""
    return jax.tree.map(
        lambda x: np.float32(x * rng.uniform(0.8, 1.2) + rng.uniform(0, 0.1, x.shape)),
        tree,
    )


@pytest.fixture(scope="session", params=CASES)
def case(request):
    """A network with its logits, for each stem."""
    genotype, layers, side = CASES[request.param]
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (3, side, side, 3), np.uint8)
    network = fixed_network(
        genotype, channels=8, layers=layers, classes=5, stem=request.param, scan=False
    )
    x = np.float32((images / 255 - MEAN) / STD)
    w, model_state = (shaken(t, rng) for t in network.init(jax.random.key(0), x))
    evaluate = jax.jit(lambda w, s, x: network.apply(w, s, x, False)[0].logits)
    weights = named_weights(w, model_state)
    return SimpleNamespace(
        images=images,
        logits=np.asarray(evaluate(w, model_state, x)),
        network=InferenceNetwork(genotype, layers, request.param, weights, MEAN, STD),
    )
