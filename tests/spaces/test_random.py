"""Random genotypes: valid, uniform, and of the size asked for."""

import dataclasses
import functools
import itertools
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from jdarts import Genotype, UserError, get_space
from jdarts.spaces import (
    DARTS_CNN,
    DARTS_RNN,
    NAS_BENCH_201,
    TOY,
    CellGenotype,
    CellSpec,
    Connection,
)
from jdarts.spaces.random import network_of, random_genotype, random_genotype_of_size

DRAW = functools.partial(random_genotype, TOY)


def rng(seed=0):
    return np.random.default_rng(seed)


def convolutions(genotype):
    """A size that is easy to count."""
    connections = [c for cell in genotype.cells.values() for c in cell.connections]
    return sum("conv" in c.primitive for c in connections)


@pytest.mark.parametrize("space", [DARTS_CNN, DARTS_RNN, TOY], ids=lambda s: s.name)
def test_valid(space):
    generator = rng()
    for _ in range(100):
        genotype = random_genotype(space, generator)
        assert Genotype.from_json(genotype.to_json()) == genotype
        for kind, spec in space.cells.items():
            cell = genotype.cells[kind]
            assert cell.concat == spec.concat and cell.output == spec.merge
            assert len(cell.nodes) == spec.nodes
            for node in cell.nodes:
                sources = [c.source for c in node]
                assert len(set(sources)) == len(sources) == spec.keep
                assert {c.primitive for c in node} <= set(spec.primitives) - {"none"}


def test_connections_are_what_their_edges_have():
    """All of it, and nothing else."""
    space, generator = get_space("s1"), rng()
    seen = {kind: [set() for _ in spec.edges] for kind, spec in space.cells.items()}
    for _ in range(300):
        for kind, cell in random_genotype(space, generator).cells.items():
            spec = space.cells[kind]
            for target, node in enumerate(cell.nodes, spec.inputs):
                for name, source in node:
                    seen[kind][spec.edges.index((source, target))].add(name)
    for kind, spec in space.cells.items():
        assert seen[kind] == [set(own) for own in spec.edge_primitives]


def test_seed_decides():
    def draws(seed):
        generator = rng(seed)
        return [random_genotype(DARTS_CNN, generator) for _ in range(3)]

    assert draws(1) == draws(1) != draws(2)
    assert len(set(map(network_of, draws(1)))) == 3


def every_cell(spec):
    """All cells that deriving can give, listed without any randomness."""
    ops = [p for p in spec.primitives if p != "none"]
    choices = [
        [
            tuple(zip(names, sources, strict=True))
            for sources in itertools.combinations(range(node), spec.keep)
            for names in itertools.product(ops, repeat=spec.keep)
        ]
        for node in spec.concat
    ]
    return list(itertools.product(*choices))


def test_uniform():
    """A toy cell is one of 4 * 12; each should come equally often (chi square)."""
    cells = every_cell(TOY.cells["normal"])
    assert len(set(cells)) == 48
    generator, count = rng(2), 4800
    drawn = [random_genotype(TOY, generator) for _ in range(count)]
    for kind in ("normal", "reduce"):
        found = Counter(
            tuple(tuple(map(tuple, n)) for n in g.cells[kind].nodes) for g in drawn
        )
        assert set(found) <= set(cells)
        assert stats.chisquare([found[c] for c in cells]).pvalue > 0.001
    together = np.zeros((2, 2))
    for g in drawn:  # the two cells know nothing of each other
        first = [g.cells[k].nodes[0][0].primitive == "skip_connect" for k in g.cells]
        together[first[0] * 1, first[1] * 1] += 1
    assert stats.chi2_contingency(together).pvalue > 0.001


def test_fewer_predecessors_than_connections():
    spec = CellSpec(("skip_connect",), nodes=2, keep=3)
    space = dataclasses.replace(TOY, cells={"normal": spec})
    cell = random_genotype(space, rng()).cells["normal"]
    assert [len(node) for node in cell.nodes] == [2, 3]


def test_order_of_connections_makes_no_other_network():
    one, two = Connection("skip_connect", 0), Connection("sep_conv_3x3", 1)
    cells = [CellGenotype((pair,), (2,)) for pair in ((one, two), (two, one))]
    same = [Genotype("toy", {"normal": c, "reduce": cells[0]}) for c in cells]
    assert same[0] != same[1] and network_of(same[0]) == network_of(same[1])
    other = Genotype("toy", {"normal": CellGenotype(((one, one),), (2,))})
    assert network_of(other) != network_of(same[0])


def test_matched_size_is_uniform_among_those_of_that_size():
    """Of all toy genotypes with 7 convolutions in 8 connections, each as often."""
    generator = rng(3)
    drawn, tries = zip(
        *[
            random_genotype_of_size(DRAW, generator, convolutions, 7, tolerance=0.1)
            for _ in range(800)
        ],
        strict=True,
    )
    assert set(map(convolutions, drawn)) == {7}
    # P(7 of 8) = 8/256, so it takes 32 draws on average (deviation 32 / sqrt(800))
    assert np.mean(tries) == pytest.approx(32, abs=4.5)
    where = Counter(
        i
        for g in drawn
        for i, c in enumerate(c for cell in g.cells.values() for c in cell.connections)
        if "conv" not in c.primitive
    )
    assert stats.chisquare([where[i] for i in range(8)]).pvalue > 0.001


def test_tolerance_is_relative_to_the_target():
    sizes = {
        convolutions(
            random_genotype_of_size(DRAW, rng(s), convolutions, 4, tolerance=0.25)[0]
        )
        for s in range(40)
    }
    assert sizes == {3, 4, 5}


def test_excluded_networks_do_not_come_again():
    generator, seen = rng(4), set()
    for _ in range(9):  # all without any convolution: 1 * 3 in each of two cells
        genotype, _ = random_genotype_of_size(
            DRAW, generator, lambda g: convolutions(g) + 1, 1, exclude=seen
        )
        seen.add(network_of(genotype))
    assert len(seen) == 9
    with pytest.raises(UserError, match="none of 500 random genotypes"):
        random_genotype_of_size(
            DRAW, generator, lambda g: convolutions(g) + 1, 1, exclude=seen, tries=500
        )


def test_impossible_size_names_the_nearest():
    with pytest.raises(UserError) as error:
        random_genotype_of_size(DRAW, rng(), convolutions, 20, tries=2000)
    assert "--tolerance: 0.05" in str(error.value) and "nearest: 8" in str(error.value)


def test_every_edge_is_drawn_where_all_are_kept():
    """Each of the 5 primitives of NAS-Bench-201 equally often, `none` as no edge."""
    generator, spec = rng(5), NAS_BENCH_201.cells["normal"]
    found = Counter()
    for _ in range(1000):
        cell = random_genotype(NAS_BENCH_201, generator).cells["normal"]
        assert cell.concat == (3,) and cell.inputs == 1
        found.update(c.primitive for c in cell.connections)
        found["none"] += len(spec.edges) - len(cell.connections)
    assert set(found) == set(spec.primitives)
    assert stats.chisquare(list(found.values())).pvalue > 0.001
