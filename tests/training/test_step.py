"""The training step against closed forms, on a network small enough for them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close

from jdarts import Batch, FixedNetwork, Outputs
from jdarts.training import (
    Scores,
    TrainOptimizer,
    TrainSettings,
    make_trainer,
    smoothed_cross_entropy,
)

CLASSES, PIXELS, PER_EPOCH, EPOCHS = 3, 4, 2, 4
KEY = jax.random.key(0)
IMAGES = jax.random.normal(jax.random.key(1), (6, 2, 2, 1))
LABELS = jnp.array([0, 2, 1, 1, 0, 2])
BATCH = Batch(IMAGES, LABELS)
PLAIN = TrainOptimizer(lr=0.5, momentum=0.0, weight_decay=0.0, clip=1e9)


def linear(auxiliary=False):
    """Linear classifiers; the statistic counts training passes, and notes drop path."""

    def init(key, images):
        w = {"main": jax.random.normal(key, (PIXELS, CLASSES))}
        if auxiliary:
            w["auxiliary"] = jnp.ones((PIXELS, CLASSES))
        return w, {"passes": jnp.zeros(()), "rate": jnp.zeros(())}

    def apply(w, stats, images, train, drop_path=None, key=None):
        flat = images.reshape(len(images), -1)
        aux = flat @ w["auxiliary"] if auxiliary else None
        if train:
            rate = stats["rate"] if drop_path is None else drop_path.rate
            stats = {"passes": stats["passes"] + 1, "rate": 1.0 * rate}
        return Outputs(flat @ w["main"], aux), stats

    return FixedNetwork(init, apply)


def trainer_of(auxiliary=False, optimizer=PLAIN, **settings):
    settings = TrainSettings(optimizer, EPOCHS, **settings)
    return make_trainer(linear(auxiliary), settings, PER_EPOCH)


def softmax(logits):
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


# --- losses ---------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_smoothed_cross_entropy(smoothing):
    logits = np.array([[1.0, -2.0, 0.5], [0.0, 0.0, 3.0]])
    labels = np.array([0, 1])
    target = (1 - smoothing) * np.eye(3)[labels] + smoothing / 3
    expected = -(target * np.log(softmax(logits))).sum(axis=-1)
    found = smoothed_cross_entropy(jnp.asarray(logits), jnp.asarray(labels), smoothing)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_one_step_is_gradient_descent(smoothing):
    """Softmax regression: the gradient is ``x^T (p - target) / batch``."""
    trainer = trainer_of(label_smoothing=smoothing)
    state = trainer.init(KEY, IMAGES)
    after, metrics = jax.jit(trainer.step)(KEY, state, BATCH)
    x, w = np.asarray(IMAGES).reshape(6, -1), np.asarray(state.w["main"])
    target = (1 - smoothing) * np.eye(CLASSES)[LABELS] + smoothing / CLASSES
    p = softmax(x @ w)
    gradient = x.T @ (p - target) / len(x)
    np.testing.assert_allclose(after.w["main"], w - 0.5 * gradient, rtol=1e-4)
    loss = -(target * np.log(p)).sum(axis=-1).mean()
    assert metrics["train_loss"] == pytest.approx(loss, rel=1e-5)
    accuracy = (p.argmax(axis=-1) == np.asarray(LABELS)).mean()
    assert metrics["train_accuracy"] == pytest.approx(accuracy)
    norm = np.linalg.norm(gradient)
    assert metrics["gradient_norm"] == pytest.approx(norm, rel=1e-4)
    assert after.step == 1 and after.model_state["passes"] == 1


def test_the_auxiliary_loss_has_its_weight():
    x, weight = np.asarray(IMAGES).reshape(6, -1), 0.4
    trainer = trainer_of(auxiliary=True, auxiliary_weight=weight)
    state = trainer.init(KEY, IMAGES)
    after, metrics = jax.jit(trainer.step)(KEY, state, BATCH)
    p = softmax(x @ np.ones((PIXELS, CLASSES)))
    gradient = x.T @ (p - np.eye(CLASSES)[LABELS]) / len(x)
    expected = 1 - 0.5 * weight * gradient
    np.testing.assert_allclose(after.w["auxiliary"], expected, rtol=1e-4)
    assert metrics["auxiliary_loss"] == pytest.approx(np.log(CLASSES), rel=1e-5)
    alone, own = jax.jit(trainer_of().step)(KEY, trainer_of().init(KEY, IMAGES), BATCH)
    assert_close(after.w["main"], alone.w["main"], 1e-6)
    assert metrics["train_loss"] == own["train_loss"]  # of the main classifier


def test_gradients_are_clipped():
    optimizer = TrainOptimizer(lr=0.5, momentum=0.0, weight_decay=0.0, clip=0.01)
    trainer = trainer_of(optimizer=optimizer)
    state = trainer.init(KEY, IMAGES)
    after, metrics = jax.jit(trainer.step)(KEY, state, BATCH)
    assert metrics["gradient_norm"] > 0.01  # before clipping
    moved = np.linalg.norm(after.w["main"] - state.w["main"])
    assert moved == pytest.approx(0.5 * 0.01, rel=1e-3)


# --- drop path, averages, evaluation --------------------------------------------------


def test_the_rate_of_drop_path_rises_by_epoch():
    trainer = trainer_of(drop_path=0.2)
    state, step, rates = trainer.init(KEY, IMAGES), jax.jit(trainer.step), []
    for _ in range(EPOCHS * PER_EPOCH):
        state, _ = step(KEY, state, BATCH)
        rates.append(float(state.model_state["rate"]))
    expected = np.repeat(0.2 * np.arange(EPOCHS) / EPOCHS, PER_EPOCH)
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_every_step_draws_anew():
    """Paths and whatever else is random, from the run's key and the step's number."""
    seen = []
    plain = linear()

    def apply(w, stats, images, train, drop_path=None, key=None):
        seen.append((drop_path.key, key))
        return plain.apply(w, stats, images, train, drop_path, key)

    network = FixedNetwork(plain.init, apply)
    settings = TrainSettings(PLAIN, EPOCHS, drop_path=0.2)
    trainer = make_trainer(network, settings, PER_EPOCH)
    state = trainer.init(KEY, IMAGES)
    for _ in range(3):
        state, _ = trainer.step(KEY, state, BATCH)
    trainer.step(jax.random.key(9), trainer.init(KEY, IMAGES), BATCH)
    for keys in zip(*seen, strict=True):
        assert len({tuple(jax.random.key_data(key).tolist()) for key in keys}) == 4


def test_averaged_weights():
    """``a <- d a + (1 - d) w``, d = min(decay, (1 + n) / (10 + n)); evaluated."""
    decay = 0.25
    trainer = trainer_of(average_decay=decay)
    state, step = trainer.init(KEY, IMAGES), jax.jit(trainer.step)
    average, passes = np.asarray(state.w["main"], np.float64), 0.0
    for n in range(5):
        state, _ = step(KEY, state, BATCH)
        d = min(decay, (1 + n) / (10 + n))
        average = d * average + (1 - d) * np.asarray(state.w["main"])
        passes = d * passes + (1 - d) * (n + 1)
    w, stats = state.average
    np.testing.assert_allclose(w["main"], average, rtol=1e-5)
    assert stats["passes"] == pytest.approx(passes, rel=1e-5)
    found = trainer.evaluate(
        state, BATCH, jnp.ones(6), Scores.zero(CLASSES, jnp.float32)
    )
    logits = np.asarray(IMAGES).reshape(6, -1) @ average
    losses = -np.log(softmax(logits))[np.arange(6), LABELS]
    assert found.loss == pytest.approx(losses.sum(), rel=1e-4)
    assert trainer_of().init(KEY, IMAGES).average == ()


def test_scores_count_ranks_and_masks():
    network = FixedNetwork(
        lambda key, images: ({}, {}),
        lambda w, stats, images, train, drop_path=None: (
            Outputs(images.reshape(len(images), -1), None),
            stats,
        ),
    )
    trainer = make_trainer(network, TrainSettings(PLAIN, EPOCHS), PER_EPOCH)
    logits = np.tile(np.arange(8.0), (6, 1))
    logits[4] = 1.0  # all alike: no image is known
    logits[5] = np.nan
    batch = Batch(jnp.asarray(logits), jnp.array([7, 6, 3, 2, 0, 0]))
    mask = jnp.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    state = trainer.init(KEY, batch.images)
    nothing = Scores.zero(8, mask.dtype)
    found = trainer.evaluate(state, batch, mask, nothing)
    assert (found.correct, found.correct5, found.count) == (1, 3, 6)
    mask = mask.at[0].set(0.0).at[4:].set(0.0)
    found = trainer.evaluate(state, batch, mask, nothing)
    assert (found.correct, found.correct5, found.count) == (0, 2, 3)
