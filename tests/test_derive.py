"""From mixing weights to a genotype: which edges, which primitives, ties."""

import numpy as np
import pytest

from jdarts.derive import derive_cell, derive_genotype
from jdarts.spaces import SPACES, CellSpec

SPEC = CellSpec(primitives=("none", "a", "b"), nodes=2)  # 2 + 3 edges


def connections(weights, spec=SPEC):
    nodes = derive_cell(spec, np.array(weights, np.float64)).nodes
    return [[tuple(c) for c in node] for node in nodes]


def test_strongest_edges_strongest_first():
    weights = [
        [0, 0.1, 0.2],  # node 2, source 0
        [0, 0.4, 0.3],  # source 1
        [0, 0.9, 0.1],  # node 3, source 0
        [0, 0.1, 0.2],  # source 1
        [0, 0.3, 0.5],  # source 2
    ]
    assert connections(weights) == [[("a", 1), ("b", 0)], [("a", 0), ("b", 2)]]


def test_none_neither_ranks_nor_is_chosen():
    weights = [[9, 0.1, 0.2], [0, 0.4, 0.3], [9, 0.1, 0], [0, 0.2, 0], [0, 0, 0.3]]
    assert connections(weights) == [[("a", 1), ("b", 0)], [("b", 2), ("a", 1)]]


def test_ties_go_to_the_lower_source_and_the_earlier_primitive():
    assert connections(np.full((5, 3), 0.25)) == [[("a", 0), ("a", 1)]] * 2
    weights = [[0, 1, 1], [0, 1, 1], [0, 0, 1], [0, 1, 0], [0, 1, 1]]
    assert connections(weights)[1] == [("b", 0), ("a", 1)]


def test_primitives_without_none():
    spec = CellSpec(primitives=("a", "b"), nodes=1)
    assert connections([[0.3, 0.2], [0.1, 0.6]], spec) == [[("b", 1), ("a", 0)]]


def test_keep():
    spec = CellSpec(primitives=("a", "b"), nodes=1, keep=1)
    assert connections([[0.3, 0.2], [0.1, 0.6]], spec) == [[("b", 1)]]


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("seed", range(3))
def test_genotype_fits_its_space(name, seed):
    space, random = SPACES[name], np.random.default_rng(seed)
    mix = {
        kind: random.random((len(spec.edges), len(spec.primitives)))
        for kind, spec in space.cells.items()
    }
    genotype = derive_genotype(space, mix)
    assert genotype.space == name
    assert genotype.cells.keys() == space.cells.keys()
    for kind, spec in space.cells.items():
        cell = genotype.cells[kind]
        assert cell.concat == spec.concat
        assert len(cell.nodes) == spec.nodes
        for node, entries in enumerate(cell.nodes, spec.inputs):
            sources = [c.source for c in entries]
            assert len(set(sources)) == len(sources)
            assert spec.keep is None or len(sources) == spec.keep
            assert all(0 <= source < node for source in sources)
            strengths = []
            for primitive, source in entries:
                assert primitive in spec.primitives and primitive != "none"
                row = mix[kind][spec.edges.index((source, node))]
                strengths.append(row[spec.primitives.index(primitive)])
            if spec.keep is None:  # in the order of sources, each its row's largest
                rows = mix[kind][spec.node_slices[node - spec.inputs]]
                assert strengths == [rows[source].max() for source in sorted(sources)]
            else:
                assert strengths == sorted(strengths, reverse=True)
