"""Expected costs against enumerations of cells, and against costs of networks."""

import itertools
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import directional_difference

from jdarts import Genotype, UserError
from jdarts.nets.cost import NetworkShape, network_cost
from jdarts.nets.expected_cost import counted
from jdarts.relaxation import softmax
from jdarts.spaces import NAS_BENCH_201, TOY, TOY_RNN, CellGenotype, Connection
from jdarts.spaces.random import random_genotype

SHAPE = NetworkShape(channels=2, layers=3, classes=3, image=(8, 8, 3))
SHARED = Path(__file__).resolve().parents[3] / "shared"
if "JDARTS_GOLDEN" in os.environ:
    SHARED = Path(os.environ["JDARTS_GOLDEN"]).parent
TABLES = SHARED / "data/nas_benchmarks/nb201.npz"
SPEC = TOY.cells["normal"]
MEASURES = ("parameters", "multiply_adds")


def cell_of(columns):
    """The cell with that primitive on every edge."""
    nodes = [[] for _ in range(SPEC.nodes)]
    for (source, target), column in zip(SPEC.edges, columns, strict=True):
        name = SPEC.primitives[column]
        if name != "none":
            nodes[target - SPEC.inputs].append(Connection(name, source))
    return CellGenotype(tuple(map(tuple, nodes)), SPEC.concat)


def true_cost(genotype, measure):
    return sum(getattr(cost, measure) for cost in network_cost(genotype, SHAPE))


@pytest.mark.parametrize("measure", MEASURES)
def test_expectation_is_the_mean_over_all_cells(measure):
    """One kind of cell draws, the other is empty; both together are the sum."""
    random = np.random.default_rng(0)
    model, none = counted(TOY, SHAPE, measure), np.eye(3)[[0] * len(SPEC.edges)]
    empty = cell_of([0] * len(SPEC.edges))
    fixed = true_cost(Genotype("toy", {"normal": empty, "reduce": empty}), measure)
    total, mix = fixed, {}
    for kind in TOY.cells:
        mix[kind] = random.dirichlet(np.ones(3), size=len(SPEC.edges))
        mean = 0.0
        for columns in itertools.product(range(3), repeat=len(SPEC.edges)):
            chance = np.prod(mix[kind][np.arange(len(columns)), columns])
            cells = {"normal": empty, "reduce": empty, kind: cell_of(columns)}
            mean += chance * true_cost(Genotype("toy", cells), measure)
        alone = {k: none for k in TOY.cells} | {kind: mix[kind]}
        np.testing.assert_allclose(model.expected(alone), mean, rtol=1e-12)
        total += mean - fixed
    np.testing.assert_allclose(model.expected(mix), total, rtol=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_one_hot_weights_give_the_cost_of_the_network(measure):
    model, random = counted(TOY, SHAPE, measure), np.random.default_rng(1)
    for _ in range(5):
        genotype = random_genotype(TOY, random)
        mix = {k: np.zeros((len(SPEC.edges), 3)) for k in TOY.cells}
        for kind, cell in genotype.cells.items():
            for i, node in enumerate(cell.nodes):
                for name, source in node:
                    row = SPEC.edges.index((source, 2 + i))
                    mix[kind][row, SPEC.primitives.index(name)] = 1
        assert model.of(genotype) == true_cost(genotype, measure)
        assert model.expected(mix) == true_cost(genotype, measure)
        assert model.scaled(0.5).of(genotype) == model.of(genotype) / 2
    uniform = {k: np.full((len(SPEC.edges), 3), 1 / 3) for k in TOY.cells}
    np.testing.assert_allclose(model.uniform(uniform), model.expected(uniform))


def test_gradient(x64):
    model, relaxation = counted(TOY, SHAPE, "parameters"), softmax(1.0)
    arch = relaxation.init(jax.random.key(0), TOY)
    along = jax.tree.map(jnp.cos, arch)

    def cost(arch):
        return model.expected(relaxation.weights(arch))

    _, found = jax.jvp(cost, (arch,), (along,))
    difference = directional_difference(cost, arch, along)
    np.testing.assert_allclose(found, difference, rtol=1e-7)


@pytest.mark.skipif(not TABLES.exists(), reason="no tables of NAS-Bench-201")
def test_parameters_of_all_cells_of_nas_bench_201():
    """Those that the benchmark has recorded, but for the isomorphic cells that share a
    record of fewer parameters."""
    shape = NetworkShape(channels=16, layers=15, classes=10, image=(32, 32, 3))
    model = counted(NAS_BENCH_201, shape, "parameters")
    with np.load(TABLES) as table:
        names, ops = table["op_names"].tolist(), table["ops"]
        recorded = table["params"][:, 0]
    primitives = NAS_BENCH_201.cells["normal"].primitives
    columns = np.array([primitives.index(n.removeprefix("nor_")) for n in names])[ops]
    costs = model.edges["normal"][np.arange(6), columns].sum(1) + model.fixed
    assert (costs == recorded).mean() > 0.98


def test_texts_have_no_costs():
    with pytest.raises(UserError, match="'toy_rnn': searched on text, but costs are"):
        counted(TOY_RNN, SHAPE, "parameters")
