"""Training a derived network from scratch: its optimiser, its step, its evaluation."""

from jdarts.training.optimizer import SCHEDULES, TrainOptimizer, by_epoch
from jdarts.training.step import (
    Scores,
    Trainer,
    TrainSettings,
    TrainState,
    make_trainer,
    smoothed_cross_entropy,
)

__all__ = [
    "SCHEDULES",
    "Scores",
    "TrainOptimizer",
    "TrainSettings",
    "TrainState",
    "Trainer",
    "by_epoch",
    "make_trainer",
    "smoothed_cross_entropy",
]
