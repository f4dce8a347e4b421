"""The largest eigenvalue of Hessians that are known, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdarts.compile import jit
from jdarts.curvature import dominant_eigenvalue
from jdarts.errors import UserError

pytestmark = pytest.mark.usefixtures("x64")

RANDOM = np.random.default_rng(0)
KEY = jax.random.key(0)


def quadratic(eigenvalues):
    """A quadratic function of a tree with these curvatures."""
    size = len(eigenvalues)
    axes, _ = np.linalg.qr(RANDOM.normal(size=(size, size)))
    hessian = axes @ np.diag(eigenvalues) @ axes.T

    def loss(point):
        x = jnp.concatenate([point["a"], point["b"].ravel()])
        return 0.5 * x @ hessian @ x + x.sum()

    return loss, {"a": jnp.zeros(2), "b": jnp.ones((size - 2, 1))}


def find(loss, point, iterations):
    run = jit(lambda p: dominant_eigenvalue(loss, p, KEY, iterations=iterations))
    return float(run(point))


@pytest.mark.parametrize(
    "eigenvalues",
    [[3.0, 1.0, 0.5, -1.0], [0.1, -5.0, -3.0, 0.2, 0.05], [-1.0, -2.0, -3.0]],
)
def test_all_directions(eigenvalues):
    """Also where another eigenvalue is larger in size, or all are negative."""
    loss, point = quadratic(eigenvalues)
    for iterations in (len(eigenvalues), 30):
        assert abs(find(loss, point, iterations) - max(eigenvalues)) < 1e-9


def test_few_iterations_suffice():
    eigenvalues = np.concatenate([[9.0], RANDOM.uniform(-1, 1, 199)])
    loss, point = quadratic(eigenvalues)
    found = [find(loss, point, i) for i in (1, 4, 12)]
    assert found[0] < found[1] < found[2] + 1e-9
    assert abs(found[2] - 9) < 1e-6


def test_repeated_eigenvalues():
    """The subspace ends early, and what follows does not count."""
    for value in (2.0, -2.0):
        loss, point = quadratic([value] * 6)
        assert abs(find(loss, point, 6) - value) < 1e-9


def test_at_a_point():
    """Of a function whose Hessian changes: exp has curvature exp(x)."""
    point = {"x": jnp.array([0.3, 1.7, -2.0])}
    found = find(lambda p: jnp.exp(p["x"]).sum(), point, 3)
    assert abs(found - np.exp(1.7)) < 1e-9


def test_bad_iterations():
    with pytest.raises(UserError, match="iterations: 0"):
        dominant_eigenvalue(jnp.sum, jnp.ones(3), KEY, iterations=0)
