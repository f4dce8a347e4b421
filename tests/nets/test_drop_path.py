"""Drop path in a search network: whole edges of single images."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdarts import jit
from jdarts.nets.cell import MixedCell
from jdarts.nets.partial import ALL_CHANNELS, PartialChannels
from jdarts.nets.paths import DropRates
from jdarts.ops.init import draw
from jdarts.spaces import CellSpec

# One node that sums two identities.
SPEC = CellSpec(primitives=("skip_connect",), nodes=1)
X = jax.random.normal(jax.random.key(0), (64, 2, 2, 4))
KEY, RATE = jax.random.key(1), 0.4


@pytest.mark.parametrize("partial", [ALL_CHANNELS, PartialChannels(2)])
def test_edges_of_images_are_dropped(partial):
    """Each image has one of the four sums, as often as the rate says."""
    cell = MixedCell(SPEC, 4, False, True, partial)
    boxed = jax.eval_shape(cell.init, jax.random.key(2), (X, X), jnp.ones((2, 1)))
    variables = {kind: draw(jax.random.key(2), tree) for kind, tree in boxed.items()}

    @jit
    def apply(weights, key, rate):
        args = (X, X), weights[:, None], key, DropRates(rate)
        return cell.apply(variables, *args, mutable=["batch_stats"])[0]

    def run(weights, key=None, rate=None):
        return np.asarray(apply(jnp.array(weights), key, rate))

    first, second = run([1.0, 0.0]), run([0.0, 1.0])
    dropped = run([1.0, 1.0], KEY, RATE)
    counts = dict.fromkeys(itertools.product((0, 1), repeat=2), 0)
    for i in range(len(X)):
        matching = [
            kept
            for kept in counts
            if np.allclose(
                dropped[i],
                (kept[0] * first[i] + kept[1] * second[i]) / (1 - RATE),
                atol=1e-5,
            )
        ]
        assert len(matching) == 1
        counts[matching[0]] += 1
    for place in range(2):
        share = sum(n for kept, n in counts.items() if kept[place]) / len(X)
        assert abs(share - (1 - RATE)) < 4 * np.sqrt(RATE * (1 - RATE) / len(X))
    np.testing.assert_array_equal(run([1.0, 1.0], KEY, RATE), dropped)
    np.testing.assert_allclose(run([1.0, 1.0], KEY, 0.0), run([1.0, 1.0]), atol=1e-6)
    np.testing.assert_array_equal(run([1.0, 1.0], None, RATE), run([1.0, 1.0]))


def test_elements_after_identities_are_dropped():
    """Each element of each edge by itself; what is kept is scaled; see `SPEC`."""
    cell = MixedCell(SPEC, 4, False, True)
    boxed = jax.eval_shape(cell.init, jax.random.key(2), (X, X), jnp.ones((2, 1)))
    variables = {kind: draw(jax.random.key(2), tree) for kind, tree in boxed.items()}

    @jit
    def apply(weights, rate):
        args = (X, X), weights[:, None], KEY, DropRates(skip=rate)
        return cell.apply(variables, *args, mutable=["batch_stats"])[0]

    first, second = (np.asarray(apply(jnp.eye(2)[i], 0.0)) for i in range(2))
    dropped = np.asarray(apply(jnp.ones(2), RATE)) * (1 - RATE)
    terms = np.stack([0 * first, first, second, first + second])
    distance = np.abs(terms - dropped)
    assert distance.min(0).max() < 1e-5
    shares = np.bincount(distance.argmin(0).ravel(), minlength=4) / first.size
    kept = 1 - RATE
    expected = [RATE**2, kept * RATE, kept * RATE, kept**2]
    np.testing.assert_allclose(shares, expected, atol=4 * 0.5 / np.sqrt(first.size))


def test_no_elements_are_dropped_where_the_skip_halves():
    spec = CellSpec(primitives=("skip_connect",), nodes=1, stride=2)
    cell = MixedCell(spec, 4, False, True)
    key = jax.random.key(2)
    variables = jax.eval_shape(cell.init, key, (X, X), jnp.ones((2, 1)))
    variables = {kind: draw(key, tree) for kind, tree in variables.items()}

    def text(rates):
        def apply(x):
            args = (x, x), jnp.ones((2, 1)), KEY, rates
            return cell.apply(variables, *args, mutable=["batch_stats"])[0]

        return str(jax.make_jaxpr(apply)(X))

    assert "random_bits" not in text(DropRates(skip=RATE))
