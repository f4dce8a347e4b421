"""Optimisers of a search against their formulas."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_close, shapes

from jdarts import UserError, tree
from jdarts.methods.drop_path import DropPathConfig, drop_rate
from jdarts.methods.optimizers import (
    ArchOptimizer,
    WeightOptimizer,
    arch_transformation,
    clip_by_norm,
    cosine_by_epoch,
    decay_by_epoch,
    descend,
    start_descent,
    weight_transformation,
)

pytestmark = pytest.mark.usefixtures("x64")

G = {"a": np.array([3.0, 0.0]), "b": np.array([[4.0]])}  # norm 5


@pytest.mark.parametrize("limit", [0.5, 4.9, 5.0, 5.1, 100.0])
def test_clip(limit):
    clipped, _ = clip_by_norm(limit).update(G, optax.EmptyState())
    scale = min(1.0, limit / (5 + 1e-6))
    assert_close(clipped, {n: scale * g for n, g in G.items()}, 1e-15)


def test_clip_of_nothing():
    zeros = {"a": jnp.zeros(3)}
    clipped, _ = clip_by_norm(1.0).update(zeros, optax.EmptyState())
    assert_close(clipped, zeros, 0.0)


def test_cosine_is_constant_within_an_epoch():
    config = WeightOptimizer(lr=0.1, lr_min=0.02)
    epochs, steps = 5, 7
    schedule = cosine_by_epoch(config, epochs, steps)
    for step in range(epochs * steps + 3):
        epoch = min(step // steps, epochs)
        expected = 0.02 + 0.08 * (1 + math.cos(math.pi * epoch / epochs)) / 2
        assert_close(schedule(jnp.int32(step)), expected, 1e-14)
    assert schedule(jnp.int32(0)) == schedule(jnp.int32(steps - 1)) == 0.1
    assert schedule(jnp.int32(steps)) < 0.1
    assert_close(schedule(jnp.int32(epochs * steps)), 0.02, 1e-14)


def test_a_constant_rate():
    schedule = cosine_by_epoch(WeightOptimizer(lr=20.0, lr_min=None), 3, 2)
    assert [float(schedule(step)) for step in range(7)] == [20.0] * 7


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("clip", [False, True])
def test_weight_steps(clip, packed):
    """Clip, then decay, then momentum, then the learning rate of the epoch."""
    config = WeightOptimizer(
        lr=0.1, lr_min=0.0, momentum=0.8, weight_decay=0.01, clip=2.0
    )
    optimizer = weight_transformation(config, cosine_by_epoch(config, 2, 1), clip=clip)
    w = {"a": jnp.array([1.0, 2.0]), "b": jnp.array([[3.0]])}
    momentum = tree.add_scaled(w, -1.0, w)
    state = start_descent(optimizer, w) if packed else optimizer.init(w)
    scale = 2.0 / (5 + 1e-6) if clip else 1.0
    for lr in (0.1, 0.05):
        if packed:
            new, state = descend(optimizer, G, state, w)
        else:
            updates, state = optimizer.update(G, state, w)
            new = optax.apply_updates(w, updates)
        decayed = tree.add_scaled({n: scale * g for n, g in G.items()}, 0.01, w)
        momentum = tree.add_scaled(decayed, 0.8, momentum)
        assert_close(new, tree.add_scaled(w, -lr, momentum), 1e-14)
        w = new


def test_clipped_and_unclipped_states_are_alike():
    """The virtual step starts from the real optimiser's state."""
    config, w = WeightOptimizer(), {"a": jnp.ones(2)}
    real, virtual = (
        weight_transformation(config, lambda step: 0.1, clip=clip).init(w)
        for clip in (True, False)
    )
    assert_close(real, virtual, 0.0)


def test_a_step_keeps_types():
    """With weights of two types, of which each has a vector."""
    config = WeightOptimizer(clip=1e9)
    optimizer = weight_transformation(config, lambda step: 0.1, clip=True)
    w = {"a": jnp.ones((2, 3)), "b": jnp.ones(4, jnp.bfloat16)}
    gradient = jax.tree.map(jnp.ones_like, w)
    new, state = descend(optimizer, gradient, start_descent(optimizer, w), w)
    assert shapes(new) == shapes(w)
    assert_close(new["a"], jnp.full((2, 3), 1 - 0.1 * (1 + 3e-4)), 1e-12)
    again, _ = descend(optimizer, gradient, state, new)
    assert shapes(again) == shapes(w)


def test_arch_steps():
    """Adam with the decay in the gradient."""
    config = ArchOptimizer(lr=0.1, b1=0.5, b2=0.9, weight_decay=0.2)
    optimizer = arch_transformation(config)
    alpha = np.array([1.0, -2.0])
    state, m, v = optimizer.init(jnp.asarray(alpha)), 0.0, 0.0
    for t, g in enumerate([np.array([0.3, -0.1]), np.array([-0.2, 0.5])], 1):
        updates, state = optimizer.update(jnp.asarray(g), state, jnp.asarray(alpha))
        decayed = g + 0.2 * alpha
        m, v = 0.5 * m + 0.5 * decayed, 0.9 * v + 0.1 * decayed**2
        step = m / (1 - 0.5**t) / (np.sqrt(v / (1 - 0.9**t)) + 1e-8)
        assert_close(alpha + updates, alpha - 0.1 * step, 1e-12)
        alpha = alpha - 0.1 * step


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (WeightOptimizer(lr=0.0), "lr"),
        (WeightOptimizer(lr=math.nan), "lr"),
        (WeightOptimizer(lr=math.inf), "lr"),
        (WeightOptimizer(lr=0.1, lr_min=0.2), "lr_min"),
        (WeightOptimizer(lr_min=-0.1), "lr_min"),
        (WeightOptimizer(momentum=1.0), "momentum"),
        (WeightOptimizer(momentum=-0.1), "momentum"),
        (WeightOptimizer(weight_decay=-1.0), "weight_decay"),
        (WeightOptimizer(clip=0.0), "clip"),
        (ArchOptimizer(lr=-1.0), "lr"),
        (ArchOptimizer(b1=1.0), "b1"),
        (ArchOptimizer(b2=1.5), "b2"),
        (ArchOptimizer(weight_decay=math.nan), "weight_decay"),
    ],
)
def test_bad_values(settings, field):
    flag = field.replace("_", "-")
    with pytest.raises(UserError, match=rf"^--method.part.{flag}: .*; expected"):
        settings.check("--method.part")


def test_defaults_are_in_range():
    WeightOptimizer().check("w")
    ArchOptimizer().check("a")


def test_growing_weight_decay():
    """Three epochs of two steps: 0.1, 0.3, 0.5, by NumPy with momentum."""
    config = WeightOptimizer(
        lr=0.2, lr_min=None, weight_decay=0.1, weight_decay_last=0.5, clip=1e9
    )
    decay = decay_by_epoch(config, 3, 2)
    tx = weight_transformation(config, lambda step: 0.2, clip=True, decay=decay)
    w, gradient = {"a": jnp.array([1.0, -2.0])}, {"a": jnp.array([0.3, 0.4])}
    state, expected, velocity = tx.init(w), np.array([1.0, -2.0]), np.zeros(2)
    for rate in (0.1, 0.1, 0.3, 0.3, 0.5, 0.5):
        updates, state = tx.update(gradient, state, w)
        w = optax.apply_updates(w, updates)
        velocity = 0.9 * velocity + np.array([0.3, 0.4]) + rate * expected
        expected = expected - 0.2 * velocity
        np.testing.assert_allclose(w["a"], expected, rtol=1e-5)
    assert decay_by_epoch(WeightOptimizer(), 3, 2) is None


def test_drop_path_schedules():
    rates = drop_rate(DropPathConfig(0.6), 4, 2)
    found = [float(rates(jnp.int32(step))) for step in range(8)]
    np.testing.assert_allclose(found, [0, 0, 0.2, 0.2, 0.4, 0.4, 0.6, 0.6], rtol=1e-6)
    constant = drop_rate(DropPathConfig(0.6, "constant"), 4, 2)
    assert float(constant(jnp.int32(0))) == pytest.approx(0.6)
    assert drop_rate(DropPathConfig(), 4, 2) is None


def test_nesterov_by_hand():
    """Sutskever et al., ICML 2013, in the form of PyTorch: g + m v, v = m v + g."""
    config = WeightOptimizer(
        lr=0.5, lr_min=None, weight_decay=0.25, nesterov=True, clip=100.0
    )
    tx = weight_transformation(config, lambda step: 0.5, clip=True)
    w = {"a": np.array([2.0, -1.0])}
    state, velocity, expected = start_descent(tx, w), 0.0, w["a"]
    for g in (np.array([1.0, 3.0]), np.array([-2.0, 0.5])):
        w, state = descend(tx, {"a": g}, state, w)
        decayed = g + 0.25 * expected
        velocity = 0.9 * velocity + decayed
        expected = expected - 0.5 * (decayed + 0.9 * velocity)
        assert_close(w["a"], expected, 1e-14)


def test_the_architectures_gradient_is_clipped():
    """Before weight decay and Adam, as if it had been given shorter."""
    clipping = arch_transformation(ArchOptimizer(lr=0.1, clip=2.0, weight_decay=0.5))
    plain = arch_transformation(ArchOptimizer(lr=0.1, weight_decay=0.5))
    alpha = {"a": np.array([1.0, -2.0])}
    states = [clipping.init(alpha), plain.init(alpha)]
    for g in (np.array([30.0, 40.0]), np.array([0.3, 0.4])):
        norm = np.linalg.norm(g)
        short = g * min(1.0, 2.0 / (norm + 1e-6))
        (found, expected), states = zip(
            clipping.update({"a": g}, states[0], alpha),
            plain.update({"a": short}, states[1], alpha),
            strict=True,
        )
        assert_close(found, expected, 1e-14)
