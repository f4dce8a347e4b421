"""Fair DARTS on CIFAR-10 with the settings of the authors' code.

Reproduces: Chu, Zhou, Zhang, Li, 'Fair DARTS', ECCV 2020: 8 cells, 16 channels, 7 ops,
50 epochs of batches of 128, first order, connections whose weight reaches 0.85.
Expected: their retrained cells make 2.54 +- 0.05 % test error (7 searches; see
train_cifar10).
Takes: not known; its step is that of first-order DARTS.
Command: python -m jdarts.search fairdarts_cifar10 --data.dir DIR
"""

from jdarts.config import SearchConfig
from jdarts.data import DataConfig
from jdarts.methods.fair_darts import FairDartsConfig


def get_config() -> SearchConfig:
    return SearchConfig(
        name="fairdarts_cifar10",
        space="darts_cnn_7",
        batch_size=128,
        data=DataConfig(name="cifar10"),
        method=FairDartsConfig(),
    )
