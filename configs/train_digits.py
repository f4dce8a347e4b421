"""The default training: a small network on real handwritten digits, on any CPU.

Reproduces nothing; the optimiser is the published one, the network, the images (8 x 8
pixels, 1437 to train and 360 to test, from scikit-learn) and the epochs are few.
Takes: about a minute on 2 CPU cores, half of it compiling.
Command: python -m jdarts.train runs/digits
"""

from jdarts.data import DataConfig
from jdarts.train_config import TrainConfig
from jdarts.training import TrainOptimizer


def get_config() -> TrainConfig:
    return TrainConfig(
        name="train_digits",
        channels=8,
        layers=3,
        auxiliary=False,
        drop_path=0.1,
        epochs=15,
        batch_size=64,
        optimizer=TrainOptimizer(lr=0.05),
        data=DataConfig(name="digits", crop_padding=1, flip=False),
    )
