"""What makes a method that method: penalties, temperatures, optimisers, channels.

On a network of one weight; nothing is compiled.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_like
from number_network import KEY, W, built, image_batches

from jdarts import METHODS, HypergradientConfig
from jdarts.methods import gdas, partial_channels, snas
from jdarts.methods.asap import AsapConfig, temperature_at
from jdarts.methods.dr_nas import DrNasConfig
from jdarts.methods.drop_path import DropPathConfig, drop_rate
from jdarts.methods.optimizers import linear_by_epoch
from jdarts.methods.pc_darts import PcDartsConfig
from jdarts.spaces import TOY

FIRST_ORDER = HypergradientConfig("first_order")


def somewhere(state):
    """The state at another architecture, in [0, 1] as a NASP search would have it."""
    alpha = random_like(jax.random.key(8), state.arch.alpha)
    alpha = jax.tree.map(lambda a: jnp.abs(a) / jnp.abs(a).max(), alpha)
    return state._replace(arch=state.arch._replace(alpha=alpha))


def valid_loss(name, **options):
    """Of one step at that architecture; and its alpha."""
    method, state, _ = built(name, **options)
    state = somewhere(state)
    _, metrics = method.step(KEY, state, image_batches())
    alpha = {kind: np.asarray(a, np.float64) for kind, a in state.arch.alpha.items()}
    return float(metrics["valid_loss"]), alpha


# --- penalties ---


@pytest.mark.parametrize("weight", [10.0, 3.0])
def test_fair_darts_pushes_weights_from_one_half(weight):
    """``L - w mean (sigmoid(alpha) - 0.5)^2``, over the weights of all cells."""
    plain, alpha = valid_loss("fair_darts", zero_one=0.0)
    found, _ = valid_loss("fair_darts", zero_one=weight)
    flat = np.concatenate([a.ravel() for a in alpha.values()])
    mix = 1 / (1 + np.exp(-flat))
    np.testing.assert_allclose(
        found - plain, -weight * np.mean((mix - 0.5) ** 2), rtol=1e-4
    )


@pytest.mark.parametrize("eta", [0.5, 2.0])
def test_nasp_pays_for_weights_of_the_ops_in_use(eta):
    """Of the toy space's ops one has weights: each normal edge that uses it costs eta.
    Reduction cells are free."""
    plain, alpha = valid_loss("nasp", eta=0.0)
    found, _ = valid_loss("nasp", eta=eta)
    spec = TOY.cells["normal"]
    kept = [name for name in spec.primitives if name != "none"]
    columns = [spec.primitives.index(name) for name in kept]
    own = alpha["normal"][:, columns]
    used = []
    for rows in spec.node_slices:  # each node keeps its two strongest edges
        strongest = np.argsort(-own[rows].max(1))[:2]
        used += [kept[i] for i in own[rows][strongest].argmax(1)]
    assert 0 < used.count("sep_conv_3x3") < len(used) == 4
    expected = eta * used.count("sep_conv_3x3")
    np.testing.assert_allclose(found - plain, expected, rtol=1e-5)


# --- schedules, from the first step to the last ---


@pytest.mark.parametrize(
    ("module", "name", "row", "first", "last"),
    [(gdas, "gumbel", "gdas", 10.0, 0.1), (snas, "concrete", "snas", 1.0, 0.03)],
)
def test_temperatures_fall(module, name, row, first, last, monkeypatch):
    made, original = [], getattr(module, name)

    def noted(temperature, *args):
        made.append(temperature)
        return original(temperature, *args)

    monkeypatch.setattr(module, name, noted)
    built(row)  # 4 epochs of 1 step
    found = [float(made[0](jnp.int32(step))) for step in range(4)]
    np.testing.assert_allclose(found, np.linspace(first, last, 4), rtol=1e-4)


def test_asaps_temperature():
    """1.6 x 0.95^e in 50 epochs; in 25 it ends at the same."""
    found = [temperature_at(AsapConfig(), e, 50) for e in (0, 1, 49)]
    assert found == pytest.approx([1.6, 1.52, 1.6 * 0.95**49], rel=1e-12)
    assert temperature_at(AsapConfig(), 24, 25) == pytest.approx(1.6 * 0.95**48)
    assert AsapConfig().warmup_epochs(50) == 10  # 0.95^9 1.6 = 1.008


def test_linear_schedules_stay_in_an_epoch():
    schedule = linear_by_epoch(1.0, 0.25, 4, 3)
    found = [float(schedule(jnp.int32(step))) for step in range(14)]
    expected = np.repeat([1.0, 0.75, 0.5, 0.25, 0.25], 3)[:14]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    rising = drop_rate(DropPathConfig(0.3), 4, 3)
    found = [float(rising(jnp.int32(step))) for step in (0, 2, 3, 6, 11)]
    assert found == pytest.approx([0.0, 0.0, 0.1, 0.2, 0.3], rel=1e-6)
    always = drop_rate(DropPathConfig(0.3, "constant"), 4, 3)
    assert [float(always(jnp.int32(s))) for s in (0, 11)] == pytest.approx([0.3, 0.3])


# --- optimisers ---


# The others' first steps are as those of darts.
@pytest.mark.parametrize(
    "name", ["darts", "nasp", "gdas", "snas", "fair_darts", "random"]
)
def test_first_weight_step(name):
    """By the method's own rate, weight decay and momentum; clipped at its norm."""
    method, state, _ = built(name)
    after, metrics = method.step(KEY, state, image_batches())
    own = METHODS[name].config().weights
    norm = float(metrics["gradient_norm"])
    assert norm > 0 and float(metrics["lr"]) == pytest.approx(own.lr)
    size = norm * min(1.0, own.clip / (norm + 1e-6))
    factor = own.lr * (1 + own.momentum if own.nesterov else 1.0)
    moves = [factor * (sign * size + own.weight_decay * W) for sign in (-1, 1)]
    found = W - float(after.w["w"])
    assert any(found == pytest.approx(move, rel=1e-4) for move in moves)


@pytest.mark.parametrize("name", ["darts", "fair_darts", "gdas", "snas"])
def test_first_architecture_step(name):
    """Adam's first one is the learning rate, wherever there is a gradient."""
    options = {"hypergradient": FIRST_ORDER} if name == "darts" else {}
    method, state, _ = built(name, **options)
    after, metrics = method.step(KEY, state, image_batches())
    assert metrics["arch_gradient_norm"] > 0
    moved = np.abs(after.arch.alpha["normal"] - state.arch.alpha["normal"])
    assert float(moved.max()) == pytest.approx(METHODS[name].config().arch.lr, rel=1e-2)


@pytest.mark.parametrize("name", ["pc_darts", "asap"])
def test_the_first_epochs_train_the_weights_alone(name):
    method, state, _ = built(name)
    after, metrics = method.step(KEY, state, image_batches())
    assert metrics["arch_gradient_norm"] == 0
    for new, old in zip(
        *map(jax.tree.leaves, (after.arch.alpha, state.arch.alpha)), strict=True
    ):
        np.testing.assert_array_equal(new, old)


# --- channels ---


def test_partial_channels():
    assert partial_channels(PcDartsConfig()) == (4, False)
    assert partial_channels(PcDartsConfig(k=2, sample=True)) == (2, True)
    assert partial_channels(DrNasConfig(k=6))[0] == 6
    rows = {name: partial_channels(row.config())[0] for name, row in METHODS.items()}
    assert {name for name, k in rows.items() if k != 1} == {"pc_darts", "dr_nas"}
