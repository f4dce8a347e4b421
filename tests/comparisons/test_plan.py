"""Which networks are trained."""

import dataclasses
import functools

import pytest
from runs import SHAPE, genotype, plan, search

from jdarts import UserError
from jdarts.comparisons.plan import make_plan
from jdarts.methods.snas import SnasConfig
from jdarts.nets.cost import Cost, network_cost
from jdarts.spaces.random import network_of, random_genotype_of_size


def test_random_genotypes_are_of_the_size_of_their_search():
    made = plan(search(0), search(1))
    assert [len(entries) for entries in made.random] == [2, 2]
    for found, random in zip(made.found, made.random, strict=True):
        costs = network_cost(found.genotype, SHAPE)
        assert found.cost == Cost(
            sum(c.parameters for c in costs), sum(c.multiply_adds for c in costs)
        )
        for entry in random:
            size = found.cost.parameters
            assert abs(entry.cost.parameters - size) <= 0.1 * size
            assert entry.tries >= 1
    assert list(made.networks) == [
        *("search_0", "random_0", "random_2"),
        *("search_1", "random_1", "random_3"),
    ]
    networks = [network_of(e.genotype) for e in made.networks.values()]
    assert len(set(networks)) == 6


def test_random_genotypes_are_of_the_kind_of_their_search():
    """SNAS keeps every edge but those of `none`, DARTS two into each node."""
    own, other = plan(search(0), search(1, method=SnasConfig()), random=24).random

    def counts(entries):
        cells = [entry.genotype.cells["normal"] for entry in entries]
        return {tuple(map(len, cell.nodes)) for cell in cells}

    assert counts(own) == {(2, 2)} and len(counts(other)) > 2


def test_multiply_adds_can_be_matched():
    made = plan(search(0), measure="multiply_adds", tolerance=0.05, random=3)
    size = made.found[0].cost.multiply_adds
    for entry in made.random[0]:
        assert abs(entry.cost.multiply_adds - size) <= 0.05 * size


def test_seed_decides():
    assert plan(search(0), seed=1) == plan(search(0), seed=1)
    assert plan(search(0), seed=1) != plan(search(0), seed=2)


def test_more_random_genotypes_leave_the_first_as_they_are():
    few, many = plan(search(0), random=2), plan(search(0), random=5)
    assert many.random[0][:2] == few.random[0]


def test_equal_networks_are_trained_once():
    same = search(5)
    turned = dataclasses.replace(  # the order of connections makes no difference
        same.genotype,
        cells={
            kind: dataclasses.replace(cell, nodes=tuple(n[::-1] for n in cell.nodes))
            for kind, cell in same.genotype.cells.items()
        },
    )
    other = dataclasses.replace(same, genotype=turned)
    made = plan(same, other, progress=(1,))
    assert made.found[0].network == made.found[1].network == "search_0"
    assert [e.network for e in made.progress[1]] == ["search_0", "search_0"]
    assert len(made.networks) == 1 + 4


def test_progress():
    made = plan(search(0, 1, 2), search(3, 4, 2), progress=(2, 1, 2))
    assert list(made.progress) == [1, 2]
    assert [e.genotype for e in made.progress[1]] == [genotype(0), genotype(3)]
    names = [e.network for e in made.progress[2]]
    assert names == ["search_0_epoch_2", "search_1_epoch_2"]
    with pytest.raises(UserError, match="no genotype of epoch 4; expected 1 to 3"):
        plan(search(0, 1, 2), progress=(4,))


@pytest.mark.parametrize(
    "searches, random, part",
    [
        (1, 1, "--random: 1 for 1 searches; expected at least 2"),
        (3, 2, "--random: 2 for 3 searches; expected at least 3"),
        (3, 5, "cannot be divided evenly over 3 searches; expected 3 or 6"),
        (3, 4, "expected 3 or 6"),
    ],
)
def test_number_of_random_genotypes(searches, random, part):
    with pytest.raises(UserError, match=part):
        plan(*(search(i) for i in range(searches)), random=random)


def test_impossible_size(monkeypatch):
    few = functools.partial(random_genotype_of_size, tries=300)
    monkeypatch.setattr("jdarts.comparisons.plan.random_genotype_of_size", few)
    with pytest.raises(UserError, match="--tolerance: 0.0; none of"):
        plan(search(0), random=1000, tolerance=0.0)


def test_impossible_network():
    with pytest.raises(UserError, match="--channels: 0"):
        make_plan([search(0)], dataclasses.replace(SHAPE, channels=0), random=2)
