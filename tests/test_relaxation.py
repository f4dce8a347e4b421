"""Relaxations that draw, and the rules of derivation that go with them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close

from jdarts import Arch
from jdarts.derive import derive_above, derive_every_edge, derive_pairs
from jdarts.methods.optimizers import linear_by_epoch
from jdarts.relaxation import concrete, dirichlet, gumbel, sigmoid, uniform
from jdarts.spaces import NAS_BENCH_201, TOY, CellSpec
from jdarts.types import Now

ALPHA = jnp.array([[0.3, -0.7, 1.2], [0.0, 0.0, 0.0], [-2.0, 0.5, 0.1]])
ARCH = Arch({"normal": ALPHA}, {})
SOFTMAX = np.exp(ALPHA) / np.exp(ALPHA).sum(1, keepdims=True)
DRAWS = 4000


def draw(relaxation, arch=ARCH):
    """``[draws, edge, primitive]``."""
    steps = jnp.arange(DRAWS)
    keys = jax.random.split(jax.random.key(0), DRAWS)
    weights = jax.vmap(lambda k, s: relaxation.weights(arch, Now(k, s))["normal"])
    return jax.jit(weights)(keys, steps)


def constant(value):
    return lambda step: jnp.full((), value)


@pytest.mark.parametrize("tau", [0.1, 10.0])
def test_gumbel_draws_ops_by_their_probability(tau):
    relaxation = gumbel(constant(tau))
    found = draw(relaxation)
    assert set(np.unique(found)) == {0.0, 1.0}
    np.testing.assert_array_equal(found.sum(2), 1)
    # Five standard deviations of a mean of draws.
    np.testing.assert_allclose(found.mean(0), SOFTMAX, atol=2.5 / np.sqrt(DRAWS))
    assert_close(relaxation.expected(ARCH)["normal"], SOFTMAX, 1e-6)
    hard = relaxation.weights(ARCH)["normal"]
    np.testing.assert_array_equal(hard, [[0, 0, 1], [1, 0, 0], [0, 1, 0]])


def test_gumbel_has_the_derivative_of_the_concrete_draw():
    now = Now(jax.random.key(3), jnp.zeros((), int))

    def gradient(relaxation):
        value = lambda arch: (relaxation.weights(arch, now)["normal"] * ALPHA**2).sum()  # noqa: E731
        return jax.grad(value)(ARCH).alpha["normal"]

    tau = constant(2.0)
    assert_close(gradient(gumbel(tau)), gradient(concrete(tau)), 1e-6)


def test_concrete_draws():
    cold, warm = draw(concrete(constant(0.01))), draw(concrete(constant(5.0)))
    for found in (cold, warm):
        np.testing.assert_allclose(found.sum(2), 1, atol=1e-5)
    winners = jax.nn.one_hot(cold.argmax(2), 3).mean(0)
    np.testing.assert_allclose(winners, SOFTMAX, atol=2.5 / np.sqrt(DRAWS))
    assert (cold.max(2) > 0.99).mean() > 0.9 > 0.1 > (warm.max(2) > 0.99).mean()
    start = concrete(constant(1.0)).init(jax.random.key(0), TOY)
    assert all(abs(alpha.mean() - 1) < 0.01 for alpha in start.alpha.values())


def test_dirichlet_draws():
    """Their mean, and the derivative of the mean by derivatives of draws."""
    relaxation = dirichlet()
    concentration = np.where(ALPHA > 0, ALPHA + 1, np.exp(ALPHA))
    mean = concentration / concentration.sum(1, keepdims=True)
    found = draw(relaxation)
    np.testing.assert_allclose(found.sum(2), 1, atol=1e-5)
    np.testing.assert_allclose(found.mean(0), mean, atol=2.5 / np.sqrt(DRAWS))
    assert_close(relaxation.weights(ARCH)["normal"], mean, 1e-5)

    factors = jnp.array([1.0, -2.0, 0.5])

    def value(arch, now=None):
        return (relaxation.weights(arch, now)["normal"] * factors).sum()

    keys = jax.random.split(jax.random.key(1), DRAWS)
    zero = jnp.zeros((), int)
    each = jax.jit(jax.vmap(lambda k: jax.grad(value)(ARCH, Now(k, zero))))(keys)
    expected = jax.grad(value)(ARCH).alpha["normal"]
    np.testing.assert_allclose(each.alpha["normal"].mean(0), expected, atol=0.05)


def test_sigmoid():
    relaxation = sigmoid()
    assert_close(relaxation.weights(ARCH)["normal"], 1 / (1 + np.exp(-ALPHA)), 1e-6)
    start = relaxation.weights(relaxation.init(jax.random.key(0), TOY))
    assert all((mix == 0.5).all() for mix in start.values())


@pytest.mark.parametrize("space", [TOY, NAS_BENCH_201], ids=lambda s: s.name)
def test_uniform_cells(space):
    """A node has as many edges as it keeps, each with each op equally often."""
    spec, relaxation = space.cells["normal"], uniform(space)
    arch = relaxation.init(jax.random.key(0), space)
    found = draw(relaxation, arch)
    assert set(np.unique(found)) == {0.0, 1.0}
    for rows in spec.node_slices:
        edges = rows.stop - rows.start
        expected = min(spec.keep or edges, edges)
        np.testing.assert_array_equal(found[:, rows].sum((1, 2)), expected)
    shares = found.sum((0, 1)) / found.sum()
    ops = [name for name in spec.primitives if name != "none" or spec.keep is None]
    for name, share in zip(spec.primitives, shares, strict=True):
        exact = 1 / len(ops) if name in ops else 0
        assert abs(share - exact) < 2.5 / np.sqrt(DRAWS)
    best = relaxation.weights(arch)["normal"]
    np.testing.assert_array_equal(best, arch.alpha["normal"] > 0)


def test_linear_by_epoch():
    schedule = linear_by_epoch(10.0, 0.1, epochs=4, steps_per_epoch=5)
    found = [float(schedule(step)) for step in (0, 4, 5, 10, 19, 20, 99)]
    np.testing.assert_allclose(found, [10, 10, 6.7, 3.4, 0.1, 0.1, 0.1], rtol=1e-5)
    assert linear_by_epoch(1.0, 0.1, epochs=1, steps_per_epoch=5)(3) == 1.0


# --- rules of derivation -------------------------------------------------------------

SPEC = CellSpec(primitives=("none", "a", "b"), nodes=2)
WEIGHTS = np.array(
    [
        [0.1, 0.9, 0.8],  # node 2
        [0.1, 0.2, 0.3],
        [0.9, 0.1, 0.2],  # node 3
        [0.2, 0.7, 0.7],
        [0.1, 0.5, 0.86],
    ]
)


def names(cell):
    return [[(c.primitive, c.source) for c in node] for node in cell.nodes]


def test_strongest_pairs():
    """Both of node 2 are of one edge; ties go to the earlier primitive."""
    expected = [[("a", 0), ("b", 0)], [("b", 2), ("a", 1)]]
    assert names(derive_pairs(SPEC, WEIGHTS)) == expected


def test_every_edge():
    expected = [[("a", 0), ("b", 1)], [("a", 1), ("b", 2)]]
    assert names(derive_every_edge(SPEC, WEIGHTS)) == expected


def test_connections_above_a_threshold():
    expected = [[("a", 0)], [("b", 2)]]
    assert names(derive_above(0.85)(SPEC, WEIGHTS)) == expected
    assert names(derive_above(0.88)(SPEC, WEIGHTS)) == [[("a", 0)], []]
    # None is: the strongest stays.
    assert names(derive_above(0.85)(SPEC, WEIGHTS / 2)) == [[("a", 0)], []]
