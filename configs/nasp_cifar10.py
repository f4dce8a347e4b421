"""NASP on CIFAR-10 as published, in its space of 12 primitives.

Reproduces: Yao, Xu, Tu, Zhu, 'NASP', AAAI 2020, the search with 12 operations, with the
settings of the authors' code: 8 cells, 16 channels, 50 epochs of batches of 64, the
first 25,000 images for the weights and the others for the architecture, no cutout. The
incomplete last batch of an epoch is dropped (390 steps, not 391).
Expected: their retrained cell, a chosen one, makes 2.44 +- 0.04 % test error (7.4
million weights; see train_cifar10).
Takes: the paper, 0.2 GPU days a search.
Command: python -m jdarts.search nasp_cifar10 --data.dir DIR
Command, 7 primitives of DARTS: python -m jdarts.search nasp_cifar10 --data.dir DIR \\
    --name nasp_cifar10_7 --space darts_cnn_7
"""

from jdarts.config import SearchConfig
from jdarts.data import DataConfig
from jdarts.methods.nasp import NaspConfig


def get_config() -> SearchConfig:
    return SearchConfig(
        name="nasp_cifar10",
        space="nasp_cnn",
        data=DataConfig(name="cifar10"),
        method=NaspConfig(),
    )
