"""The learning rates of the published trainings."""

import math

import numpy as np
import pytest

from jdarts import UserError
from jdarts.training import TrainOptimizer, by_epoch

PER_EPOCH = 3


def rates(config, epochs):
    """At the first step of each epoch; constant inside it."""
    schedule = by_epoch(config, epochs, PER_EPOCH)
    steps = np.arange(epochs * PER_EPOCH)
    all_of_them = np.asarray([schedule(step) for step in steps]).reshape(epochs, -1)
    assert (all_of_them == all_of_them[:, :1]).all()
    return all_of_them[:, 0]


def test_cosine():
    """DARTS on CIFAR-10."""
    expected = [0.025 * (1 + math.cos(math.pi * e / 10)) / 2 for e in range(10)]
    np.testing.assert_allclose(rates(TrainOptimizer(), 10), expected, rtol=1e-5)


def test_exponential():
    """DARTS on ImageNet."""
    config = TrainOptimizer(lr=0.1, schedule="exponential")
    expected = [0.1 * 0.97**e for e in range(7)]
    np.testing.assert_allclose(rates(config, 7), expected, rtol=1e-5)


def test_linear_with_warm_up():
    """PC-DARTS on ImageNet: 5 epochs up, 5 slower ones at the end."""
    config = TrainOptimizer(lr=0.5, schedule="linear", warmup_epochs=5)
    epochs = 15
    expected = [0.5 * (e + 1) / 5 for e in range(5)]
    expected += [0.5 * (10 - e) / 10 for e in range(5, 10)]
    expected += [0.5 * (15 - e) / (5 * 10) for e in range(10, 15)]
    np.testing.assert_allclose(rates(config, epochs), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"lr": 0.0}, "--o.lr: 0.0"),
        ({"decay": 0.5}, "--o.decay: has no effect with schedule 'cosine'"),
        ({"schedule": "linear", "lr_min": 0.01}, "--o.lr-min: has no effect"),
        ({"schedule": "exponential", "decay": 1.5}, "--o.decay: 1.5"),
        ({"warmup_epochs": 6}, "--o.warmup-epochs: 6; expected 0 to 5"),
        ({"clip": 0.0}, "--o.clip: 0.0"),
    ],
)
def test_wrong_values(change, message):
    with pytest.raises(UserError, match=message):
        TrainOptimizer(**change).check_training("--o", 6)


def test_linear_needs_its_tail():
    with pytest.raises(UserError, match="linear with 5 epochs"):
        TrainOptimizer(schedule="linear").check_training("--o", 5)
