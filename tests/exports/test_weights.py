"""Names of weights."""

import functools

import jax
import numpy as np
import pytest

from jdarts import Genotype, UserError, fixed_network
from jdarts.exports import named_weights, read_weights, trees
from jdarts.spaces import CellGenotype, Connection


@functools.cache
def trees_of(**options):
    """Weights and statistics of a network with runs of equal cells."""
    pair = (Connection("max_pool_3x3", 0), Connection("conv_1x1", 1))
    cell = CellGenotype((pair,), (2,))
    genotype = Genotype("x", {"normal": cell, "reduce": cell})
    network = fixed_network(
        genotype, channels=2, layers=12, classes=3, auxiliary=True, **options
    )
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), np.float32)
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)
    return jax.tree.map(lambda s: np.float32(rng.normal(size=s.shape)), shapes)


def test_runs_of_cells_are_taken_apart():
    w, model_state = trees_of(scan=True)
    (run, *_) = sorted(name for name in w if name.startswith("cells_"))
    first = int(run.split("_")[1])
    named = named_weights(w, model_state)
    assert not any(name.startswith("cells_") for name in named)
    for i in range(2):
        for tree, last in ((w, "scale"), (model_state, "mean")):
            array = tree[run]["input_0"]["bn"][last][i]
            name = f"cell_{first + i}/input_0/bn/{last}"
            np.testing.assert_array_equal(named[name], array)
    sizes = [x.size for x in jax.tree.leaves((w, model_state))]
    assert sum(array.size for array in named.values()) == sum(sizes)


def test_cells_stand_in_order():
    names = list(named_weights(*trees_of()))
    numbers = [int(n.split("/")[0][5:]) for n in names if n.startswith("cell_")]
    assert numbers == sorted(numbers) and numbers[-1] == 11


def test_trees_are_those_of_the_network_without_loops():
    w, model_state = trees_of(scan=False)
    found = trees(named_weights(w, model_state))
    assert jax.tree.structure(found) == jax.tree.structure((w, model_state))
    jax.tree.map(np.testing.assert_array_equal, found, (w, model_state))


def test_a_file_that_is_none(tmp_path):
    (tmp_path / "w.npz").write_text("no")
    with pytest.raises(UserError, match="w.npz: not a file of weights"):
        read_weights(tmp_path / "w.npz")
    with pytest.raises(UserError, match="none.npz: cannot be read"):
        read_weights(tmp_path / "none.npz")
