"""The op that replaces its input by noise: statistics, derivatives, keys, networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdarts import Genotype, SearchSpace, UserError, fixed_network, jit, supernet
from jdarts.exports.inference import EXPORTED
from jdarts.ops import RNG, make_op
from jdarts.spaces import CellGenotype, CellSpec, Connection

KEY, OTHER = jax.random.key(0), jax.random.key(1)
IMAGES = jnp.ones((4, 8, 8, 3))


def noise(x, key, stride=1, edges=3):
    op = make_op("noise", edges=edges, channels=x.shape[-1], stride=stride)
    return op.apply({}, x, train=True, rngs={RNG: key})


@pytest.mark.parametrize("stride", [1, 2])
def test_statistics(stride):
    """N(0, 1), independent from edge to edge and from key to key."""
    values = np.asarray(noise(IMAGES, KEY, stride), np.float64)
    assert values.shape == (3, 4, 8 // stride, 8 // stride, 3)
    bound = 4 / np.sqrt(values.size)
    assert abs(values.mean()) < bound
    assert abs(values.var() - 1) < np.sqrt(2) * bound
    pairs = [(values[0], values[1]), (values, np.asarray(noise(IMAGES, OTHER, stride)))]
    for a, b in pairs:
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4 / np.sqrt(a.size)
    np.testing.assert_array_equal(values, noise(5 * IMAGES, KEY, stride))


def test_derivative_is_zero():
    gradient = jax.grad(lambda x: jnp.sin(noise(x, KEY)).sum())(IMAGES)
    np.testing.assert_array_equal(gradient, jnp.zeros_like(IMAGES))
    assert noise(IMAGES.astype(jnp.bfloat16), KEY).dtype == jnp.bfloat16


def space():
    spec = CellSpec(primitives=("noise", "skip_connect"), nodes=1)
    return SearchSpace("noisy", {"normal": spec}, reductions=())


def test_in_search_networks():
    """Training draws by its key, evaluation repeats; mixed and single ops."""
    network = supernet(space(), channels=2, layers=1, classes=3)
    w, state = network.init(KEY, IMAGES)
    mix = {"normal": jnp.array([[0.7, 0.0], [0.0, 0.4]])}
    for apply in (network.apply, network.apply_single):

        @jit
        def train(key, apply=apply):
            def loss(w):
                return jnp.square(apply(w, state, mix, IMAGES, True, key)[0]).sum()

            return jax.value_and_grad(loss)(w)

        (a, slope), (again, _), (b, _) = train(KEY), train(KEY), train(OTHER)
        assert a == again and abs(a - b) > 1e-4
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
        evaluate = jit(lambda w, apply=apply: apply(w, state, mix, IMAGES, False)[0])
        np.testing.assert_array_equal(evaluate(w), evaluate(w))


def test_in_derived_networks():
    """Training draws by its key; both connections draw for themselves."""
    pair = (Connection("noise", 0), Connection("noise", 1))
    cell = CellGenotype((pair,), (2,))
    genotype = Genotype("noisy", {"normal": cell, "reduce": cell})
    network = fixed_network(genotype, channels=2, layers=1, classes=3)
    w, state = network.init(KEY, IMAGES)
    train = jit(lambda key: network.apply(w, state, IMAGES, True, None, key)[0].logits)
    a, again, b = train(KEY), train(KEY), train(OTHER)
    np.testing.assert_array_equal(a, again)
    assert np.abs(a - b).max() > 1e-3


def test_cannot_be_exported():
    assert "noise" not in EXPORTED
    with pytest.raises(UserError, match="did you mean 'noise'"):
        make_op("nois", edges=1, channels=1)
