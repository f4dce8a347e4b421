"""The network of NAS-Bench-201: cells by hand, numbers of weights, sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close

from jdarts import UserError, jit, supernet, tree
from jdarts.nets.cell import MixedCell
from jdarts.nets.residual import ResidualBlock
from jdarts.ops.init import draw
from jdarts.spaces import NAS_BENCH_201

SPEC = NAS_BENCH_201.cells["normal"]
X = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))


@pytest.mark.parametrize(
    ("classes", "count"), [(10, 1_692_826), (100, 1_698_676), (120, 1_699_976)]
)
def test_number_of_weights(classes, count):
    """Of the authors' search network."""
    network = supernet(NAS_BENCH_201, channels=16, layers=15, classes=classes)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    w, state = jax.eval_shape(network.init, jax.random.key(0), image)
    assert tree.size(w) == count
    widths = [w["body"][f"block_{i}"]["shortcut"].shape for i in (5, 10)]
    assert widths == [(16, 32), (32, 64)]


@pytest.mark.parametrize("single", [False, True])
def test_cells_by_hand(single):
    """Node 3 = op(node 0) + op(node 1) + op(node 2), and so on; it is the output."""
    cell = MixedCell(SPEC, 3, False, True, single=single)
    whole = MixedCell(SPEC, 3, False, True)
    boxed = jax.eval_shape(whole.init, jax.random.key(1), (X,), jnp.zeros((6, 5)))
    w = draw(jax.random.key(2), boxed["params"])

    @jit
    def run(mix):
        return cell.apply({"params": w}, (X,), mix)

    def only(*names):
        columns = [SPEC.primitives.index(name) for name in names]
        return jax.nn.one_hot(jnp.array(columns), 5)

    assert_close(run(only(*["skip_connect"] * 6)), 4 * X, 1e-6)
    assert_close(run(0.5 * only(*["skip_connect"] * 6)), 1.125 * X, 1e-6)
    assert not run(only(*["none"] * 6)).any()
    padded = np.pad(np.asarray(X), ((0, 0), (1, 1), (1, 1), (0, 0)))
    ones = np.pad(np.ones((1, 4, 4, 1)), ((0, 0), (1, 1), (1, 1), (0, 0)))
    total, count = (
        sum(a[:, i : i + 4, j : j + 4] for i in range(3) for j in range(3))
        for a in (padded, ones)
    )
    # Edges 0-1, 0-2, 1-2, 0-3, 1-3, 2-3: a pool without normaliser, then a sum.
    names = ["avg_pool_3x3", "none", "none", "skip_connect", "skip_connect", "none"]
    assert_close(run(only(*names)), X + total / count, 1e-6)


def test_residual_block():
    block = ResidualBlock(4)
    boxed = jax.eval_shape(lambda x: block.init(jax.random.key(0), x, train=True), X)
    w = draw(jax.random.key(1), boxed["params"])
    w["second"]["conv"]["bn"]["scale"] *= 0  # leaves the shortcut
    out = block.apply({"params": w}, X, train=True)
    means = np.asarray(X).reshape(2, 2, 2, 2, 2, 3).mean((2, 4))
    assert_close(out, means @ w["shortcut"], 1e-5)


def test_sizes():
    network = supernet(NAS_BENCH_201, channels=4, layers=3, classes=2)
    with pytest.raises(UserError, match="2 reductions expect .* that 4 divides"):
        network.init(jax.random.key(0), jnp.zeros((1, 6, 6, 3)))
