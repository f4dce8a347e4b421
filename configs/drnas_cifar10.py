"""DrNAS on CIFAR-10 with the settings of the authors' code, but in one stage.

Reproduces: Chen et al., 'DrNAS', ICLR 2021: 20 cells, 36 channels of which a sixth goes
through the 7 ops, 50 epochs of batches of 64, of which two in five train the weights
alone. Their search has a second stage of 25 epochs with 4 ops and a quarter of the
channels, whose weights, momenta and alphas are those of the first; this one goes on
with the first. Their retrained network keeps normalisers after pools.
Expected: their retrained cell, a chosen one, makes 2.46 +- 0.03 % test error (see
train_cifar10).
Takes: the paper, 0.6 GPU days a search.
Command: python -m jdarts.search drnas_cifar10 --data.dir DIR
"""

from jdarts.config import SearchConfig
from jdarts.data import DataConfig
from jdarts.methods.dr_nas import DrNasConfig


def get_config() -> SearchConfig:
    return SearchConfig(
        name="drnas_cifar10",
        space="darts_cnn_7",
        channels=36,
        layers=20,
        data=DataConfig(name="cifar10"),
        method=DrNasConfig(k=6),
    )
