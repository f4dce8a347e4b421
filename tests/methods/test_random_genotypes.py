"""Random genotypes of each method are of the kind that its search derives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdarts import METHODS, Arch, build_method, make_supernet
from jdarts.derive import with_max_skips
from jdarts.methods import random_genotype_of
from jdarts.methods.fair_darts import FairDartsConfig
from jdarts.methods.sgas import decisions
from jdarts.relaxation import Held, uniform
from jdarts.spaces import NAS_BENCH_201, TOY
from jdarts.spaces.random import network_of

DRAWS = 60


@functools.cache
def space_of(name, every_edge):
    if name == "capped":
        return with_max_skips(TOY, 1, every_edge=every_edge)
    return {"toy": TOY, "nas_bench_201": NAS_BENCH_201}[name]


def decided(space):
    """SGAS at its end: every edge that a cell keeps is decided."""
    prune = decisions(space, [1] * 9)
    return jax.jit(lambda arch: arch._replace(held=prune(arch, jnp.array(1))))


def found_arch(name, space, seed, end):
    """An architecture as a search by that method may end with; `end`: of SGAS."""
    rng = np.random.default_rng(seed)
    shapes = {
        kind: (len(spec.edges), len(spec.primitives))
        for kind, spec in space.cells.items()
    }
    draw = rng.uniform if name == "nasp" else rng.logistic
    alpha = {k: jnp.asarray(draw(size=shape)) for k, shape in shapes.items()}
    beta = {k: jnp.asarray(rng.normal(size=shape[0])) for k, shape in shapes.items()}
    kept = {k: jnp.ones(shape, bool) for k, shape in shapes.items()}
    if name == "random":
        return uniform(space).init(jax.random.key(seed), space)
    arch = Arch(alpha, beta, Held(kept, jnp.ones(()), {}))
    return end(arch) if name == "sgas" else arch


def kinds_of(genotypes, space):
    """What can be seen of their normal cells."""
    spec = space.cells["normal"]
    cells = [genotype.cells["normal"] for genotype in genotypes]
    names = [[c.primitive for c in cell.connections] for cell in cells]
    return {
        "connections into each node": [
            {len(cell.nodes[i]) for cell in cells} for i in range(spec.nodes)
        ],
        "fewer than kept": any(
            len(node) < min(spec.keep or at, at)
            for cell in cells
            for at, node in zip(spec.intermediate, cell.nodes, strict=True)
        ),
        "of one edge": any(
            len({c.source for c in node}) < len(node)
            for cell in cells
            for node in cell.nodes
        ),
        "primitives": {name for own in names for name in own},
        "most skips": max(own.count("skip_connect") for own in names),
    }


@pytest.mark.parametrize("where", ["toy", "capped", "nas_bench_201"])
@pytest.mark.parametrize("name", METHODS)
def test_same_kind(name, where):
    if (name, where) == ("random", "capped"):
        pytest.skip("a search that learns nothing takes no cap")
    config, space = METHODS[name].config(), space_of(where, METHODS[name].every_edge)
    network = make_supernet(config, space, channels=4, layers=3, classes=3)
    method = build_method(config, space, network, epochs=40, steps_per_epoch=1)
    rng, count = np.random.default_rng(0), 3000 if where == "toy" else 600
    drawn = [random_genotype_of(config, space, rng) for _ in range(count)]
    end = decided(space)
    found = [
        method.discretize(found_arch(name, space, seed, end)) for seed in range(DRAWS)
    ]
    theirs, ours = kinds_of(found, space), kinds_of(drawn, space)
    assert theirs.pop("most skips") <= ours["most skips"]
    if where == "capped":
        assert ours["most skips"] == 1
    if where == "nas_bench_201":  # of 6 edges some numbers are rare
        count = "connections into each node"
        pairs = zip(theirs.pop(count), ours[count], strict=True)
        assert all(some <= any_of_them for some, any_of_them in pairs)
    assert theirs == {name: ours[name] for name in theirs}
    if where == "toy":  # few enough to see all of them
        assert normals(found) <= normals(drawn)


def normals(genotypes):
    return {network_of(genotype.only({"normal"})) for genotype in genotypes}


def test_kinds_by_hand():
    """What the rules say themselves, on the toy space."""
    rng, seen = np.random.default_rng(1), {}
    for name, row in METHODS.items():
        drawn = [random_genotype_of(row.config(), TOY, rng) for _ in range(1000)]
        seen[name] = kinds_of(drawn, TOY)
    lengths = {name: kind["connections into each node"] for name, kind in seen.items()}
    assert lengths.pop("snas") == [{0, 1, 2}, {0, 1, 2, 3}]
    assert lengths.pop("fair_darts") == [{0, 1, 2}, {0, 1, 2}]
    assert all(found == [{2}, {2}] for found in lengths.values())
    assert {name for name, kind in seen.items() if kind["of one edge"]} == {"gdas"}
    most = {name: kind["most skips"] for name, kind in seen.items()}
    assert most.pop("snas") == 5 and most.pop("fair_darts") >= 2
    assert set(most.values()) == {4}
    assert all("none" not in kind["primitives"] for kind in seen.values())


def test_the_threshold_is_the_searchs_own():
    def mean(threshold):
        rng, config = np.random.default_rng(2), FairDartsConfig(threshold=threshold)
        drawn = [random_genotype_of(config, TOY, rng) for _ in range(300)]
        return np.mean([len(g.cells["normal"].connections) for g in drawn])

    assert mean(0.5) > mean(0.85) + 0.5 > mean(0.99) + 1
