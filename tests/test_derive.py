"""From mixing weights to a genotype: which edges, which primitives, ties."""

import dataclasses

import jax
import numpy as np
import pytest

from jdarts import METHODS, SPACES, UserError, derive_genotype
from jdarts.config import SearchConfig
from jdarts.derive import (
    cap_skips,
    derive_above,
    derive_cell,
    derive_every_edge,
    derive_pairs,
    with_max_skips,
)
from jdarts.methods.random_sampling import RandomSamplingConfig
from jdarts.relaxation import pruned_softmax
from jdarts.relaxation.pruned import kept_ranks, kept_softmax
from jdarts.spaces import TOY, CellSpec

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
        kind: random.random((len(spec.edges), len(spec.primitives))) * spec.offered
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
                edge = spec.edges.index((source, node))
                offered = dict(zip(spec.primitives, spec.offered[edge], strict=True))
                assert offered[primitive] and primitive != "none"
                row = mix[kind][edge]
                strengths.append(row[spec.primitives.index(primitive)])
            if spec.keep is None:  # in the order of sources, each its row's largest
                rows = mix[kind][spec.node_slices[node - spec.inputs]]
                assert strengths == [rows[source].max() for source in sorted(sources)]
            else:
                assert strengths == sorted(strengths, reverse=True)


# --- the cap on skip connections ----------------------------------------------------

CAPPED = CellSpec(primitives=("none", "skip_connect", "conv_3x3"), nodes=2)
WEIGHTS = [
    [0.0, 0.7, 0.3],  # node 2, source 0
    [0.0, 0.6, 0.4],  # source 1
    [0.0, 0.5, 0.1],  # node 3, source 0: second, and fourth without its skip
    [0.0, 0.8, 0.2],  # source 1
    [0.1, 0.2, 0.45],  # source 2
]


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (4, [[("skip_connect", 0), ("skip_connect", 1)]] + [None]),
        (
            2,
            # Away go 0.5, whose edge loses its place, and 0.6, whose edge keeps it.
            [
                [("skip_connect", 0), ("conv_3x3", 1)],
                [("skip_connect", 1), ("conv_3x3", 2)],
            ],
        ),
        (
            0,
            [[("conv_3x3", 1), ("conv_3x3", 0)], [("conv_3x3", 2), ("conv_3x3", 1)]],
        ),
    ],
)
def test_cap_on_skips(most, expected):
    spec = dataclasses.replace(CAPPED, max_skips=most)
    for weights in (np.array(WEIGHTS), np.array(WEIGHTS, np.float32)):
        before = weights.copy()
        cell = cap_skips(derive_cell)(spec, weights)
        np.testing.assert_array_equal(weights, before)
        nodes = [[tuple(c) for c in node] for node in cell.nodes]
        for node, wanted in zip(nodes, expected, strict=True):
            assert wanted is None or node == wanted


@pytest.mark.parametrize("rule", [derive_pairs, derive_every_edge, derive_above(0.15)])
@pytest.mark.parametrize("seed", range(3))
def test_cap_of_every_rule(rule, seed):
    """Without a cap nothing changes; with one the strongest skips stay."""
    weights = np.random.default_rng(seed).random((5, 3)) * [0.2, 1, 0.5]
    free = rule(CAPPED, weights)
    assert cap_skips(rule)(CAPPED, weights) == free
    for most in range(5):
        spec = dataclasses.replace(CAPPED, max_skips=most)
        cell = cap_skips(rule)(spec, weights)
        kept = sum(c.primitive == "skip_connect" for c in cell.connections)
        skips = sum(c.primitive == "skip_connect" for c in free.connections)
        assert kept <= most
        if skips <= most:
            assert cell == free


def test_runner_up_where_weights_are_one_hot():
    """Of cells decided edge by edge: by the logits, not by the order of primitives."""
    names = ("none", "skip_connect", "conv_1x1", "conv_3x3")
    spec = dataclasses.replace(CAPPED, primitives=names, max_skips=1)
    probability = np.array(
        [
            [0.1, 0.6, 0.1, 0.2],  # a skip for good: the weaker one
            [0.1, 0.2, 0.1, 0.6],
            [0.1, 0.7, 0.15, 0.05],  # a skip for good: the stronger one
            [0.0, 0.1, 0.9, 0.0],  # cut: does not come back
            [0.1, 0.5, 0.3, 0.1],  # not decided
        ]
    )
    kept = np.zeros((5, 4), bool)
    kept[[0, 1, 2], [1, 3, 1]], kept[4] = True, [False, False, True, True]
    logits = np.log(probability + 1e-9)
    ranks = np.asarray(kept_ranks(logits, kept))
    cell = cap_skips(derive_cell)(spec, ranks)
    assert [[tuple(c) for c in node] for node in cell.nodes] == [
        [("conv_3x3", 1), ("conv_3x3", 0)],
        [("skip_connect", 0), ("conv_1x1", 2)],
    ]
    none = dataclasses.replace(spec, max_skips=0)
    cell = cap_skips(derive_cell)(none, ranks)
    assert [tuple(c) for c in cell.nodes[1]] == [("conv_1x1", 2), ("conv_1x1", 0)]
    free = dataclasses.replace(spec, max_skips=2)
    cell = cap_skips(derive_cell)(free, ranks)
    assert cell == derive_cell(free, kept_softmax(logits, kept))  # decided: no choice


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_pruning_methods_rank_by_their_weights(temperature):
    """Where nothing is pruned yet."""
    relaxation = pruned_softmax(init_scale=1.0, temperature=temperature)
    arch = relaxation.init(jax.random.key(0), TOY)
    for kind, ranks in relaxation.ranks(arch).items():
        np.testing.assert_allclose(ranks, relaxation.weights(arch)[kind], rtol=1e-6)


def test_no_cap_without_a_ranking():
    with pytest.raises(UserError, match="--max-skips: --method random learns no order"):
        SearchConfig(method=RandomSamplingConfig(), max_skips=2)


def test_cap_is_of_the_normal_cell():
    space = with_max_skips(SPACES["toy"], 1)
    mix = {
        kind: np.tile([0.0, 0.9, 0.1], (len(s.edges), 1))
        for kind, s in space.cells.items()
    }
    cells = derive_genotype(space, mix).cells
    counts = {
        kind: sum(c.primitive == "skip_connect" for c in cell.connections)
        for kind, cell in cells.items()
    }
    assert counts == {"normal": 1, "reduce": 4}


def test_cap_where_every_edge_is_derived():
    """Up to all edges but one: SNAS has 14 in a cell that keeps 8 of DARTS."""
    space = with_max_skips(SPACES["darts_cnn"], 13, every_edge=True)
    assert space.cells["normal"].max_skips == 13
    with pytest.raises(UserError, match="14; expected 0 to 13"):
        with_max_skips(SPACES["darts_cnn"], 14, every_edge=True)
    assert METHODS["snas"].every_edge and not METHODS["darts"].every_edge


@pytest.mark.parametrize(
    ("name", "most", "message"),
    [
        ("toy", 4, "--max-skips: 4; expected 0 to 3 .* gets 4 connections"),
        ("darts_cnn", 8, "expected 0 to 7"),
        ("nas_bench_201", 6, "expected 0 to 5"),
        ("toy", -1, "--max-skips: -1"),
        ("s4", 2, "--space s4 has no choice between skip_connect and another"),
    ],
)
def test_bad_caps(name, most, message):
    with pytest.raises(UserError, match=message):
        with_max_skips(SPACES[name], most)
