"""GDAS on CIFAR-10 with the settings of the authors' code.

Reproduces: Dong, Yang, 'GDAS', CVPR 2019, the search in the space of DARTS: 6 cells, 16
channels, 250 epochs of batches of 256 (the paper: 240 of 64), temperature from 10 to
0.1, the two halves of the training images for weights and architecture. Their code
steps the weights first, this one the architecture. The supernet is that of DARTS:
theirs has no normaliser after pools, a bias in its 1 x 1 convolutions, and a normaliser
and ReLU before the head; their halves are a file of indices.
Expected: their retrained cell, a chosen one, makes 2.93 % test error. Their retraining
cannot be had exactly: its warm-up goes by the step and the cosine begins after it.
Takes: the paper, 0.21 GPU days a search.
Command: python -m jdarts.search gdas_cifar10 --data.dir DIR
"""

from jdarts.config import SearchConfig
from jdarts.data import DataConfig
from jdarts.methods.gdas import GdasConfig


def get_config() -> SearchConfig:
    return SearchConfig(
        name="gdas_cifar10",
        layers=6,
        epochs=250,
        batch_size=256,
        data=DataConfig(name="cifar10"),
        method=GdasConfig(),
    )
