"""Partial channels: what is passed on, where it ends up, what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close

from jdarts import UserError, jit, supernet, tree
from jdarts.nets.partial import PartialChannels, halve, shuffle
from jdarts.spaces import TOY

X = jax.random.normal(jax.random.key(0), (2, 4, 6, 8))
KEY = jax.random.key(1)
# Without reductions, where a skip connection would have weights.
FLAT = dataclasses.replace(TOY, reductions=())


@pytest.mark.parametrize("k", [2, 4, 8])
def test_first_channels_and_shuffle(k):
    ahead, rest = PartialChannels(k).split(X, None)
    np.testing.assert_array_equal(ahead, X[..., : 8 // k])
    found = PartialChannels(k).join([ahead, ahead], [rest, rest], None)
    for g in range(k):
        for j in range(8 // k):
            expected = 2 * X[..., g * (8 // k) + j]
            np.testing.assert_array_equal(found[..., j * k + g], expected)
    assert not np.array_equal(shuffle(X, k), X) or k == 8


def test_a_random_sample_comes_back_to_its_place():
    partial = PartialChannels(4, sample=True)
    orders = [partial.order(jax.random.key(i), 8) for i in range(3)]
    samples = []
    for order in orders:
        ahead, rest = partial.split(X, order)
        assert ahead.shape[-1] == 2
        np.testing.assert_array_equal(partial.join([ahead], [rest], order), X)
        doubled = partial.join([2 * ahead], [rest], order)
        samples.append(tuple(np.flatnonzero(np.any(doubled != X, axis=(0, 1, 2)))))
        assert len(samples[-1]) == 2
    assert len(set(samples)) > 1
    assert PartialChannels(4).order(KEY, 8) is None


def test_halving():
    expected = np.asarray(X).reshape(2, 2, 2, 3, 2, 8).max((2, 4))
    np.testing.assert_array_equal(halve(X), expected)
    gradient = jax.grad(lambda x: halve(x).sum())(jnp.ones((1, 4, 4, 1)))
    expected = np.zeros((1, 4, 4, 1))
    expected[:, ::2, ::2] = 1  # ties: the first of each block
    np.testing.assert_array_equal(gradient, expected)


def skips(weight):
    """Mixing weights: on each edge that weight of the skip connection, nothing else."""
    spec = FLAT.cells["normal"]
    mix = np.zeros((len(spec.edges), len(spec.primitives)), np.float32)
    mix[:, spec.primitives.index("skip_connect")] = weight
    return {"normal": jnp.asarray(mix)}


def test_skip_connections_only():
    """Then all channels are passed on, with the edge's weight, however they are cut."""
    sizes = {"channels": 4, "layers": 2, "classes": 3}
    whole = supernet(FLAT, **sizes)
    w, state = whole.init(KEY, X[..., :3])
    key, mix = jax.random.key(7), skips(0.6)
    run = jit(whole.apply, static_argnums=4)
    expected, _ = run(w, state, mix, X[..., :3], True, None)
    for partial in (PartialChannels(2, sample=True), PartialChannels(4, sample=True)):
        network = supernet(FLAT, **sizes, partial=partial)
        fewer, state = network.init(KEY, X[..., :3])
        assert tree.size(fewer) < tree.size(w)
        # The adapters, stem and head are those of the whole network.
        for name, cell in fewer.items():
            if not name.startswith("cell"):
                fewer[name] = w[name]
                continue
            for adapter in ("input_0", "input_1"):
                cell[adapter] = w[name][adapter]
        run = jit(network.apply, static_argnums=4)
        for some_key in (key, None):
            found, _ = run(fewer, state, mix, X[..., :3], True, some_key)
            assert_close(found, expected, 1e-5)


def test_the_sample_is_of_the_key():
    sizes = {"channels": 4, "layers": 2, "classes": 3}
    sampled = supernet(FLAT, **sizes, partial=PartialChannels(2, sample=True))
    fixed = supernet(FLAT, **sizes, partial=PartialChannels(2))
    w, state = sampled.init(KEY, X[..., :3])
    mix = jax.tree.map(lambda m: jnp.full_like(m, 1 / 3), skips(1))

    def run(network, key):
        return network.apply(w, state, mix, X[..., :3], True, key)[0]

    keys = [jax.random.key(i) for i in range(3)]
    found = [jit(lambda key: run(sampled, key))(key) for key in (*keys, keys[0])]
    assert_close(found[0], found[3], 0.0)
    assert np.abs(found[0] - found[1]).max() > 1e-4
    assert_close(run(fixed, keys[0]), run(fixed, None), 0.0)


@pytest.mark.parametrize(
    ("k", "message"),
    [
        (0, "--method.k: 0; expected at least 1"),
        (4, r"--channels: 6 do not .* --method.k 4 .* multiple of 4, for example 8"),
    ],
)
def test_bad_numbers(k, message):
    with pytest.raises(UserError, match=message):
        supernet(TOY, channels=6, layers=3, classes=2, partial=PartialChannels(k))
