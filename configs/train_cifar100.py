"""Training on CIFAR-100 with the published settings for CIFAR-10.

Reproduces: the trainings on CIFAR-100 of Chen et al., 'P-DARTS', ICCV 2019, which take
the network and the settings of DARTS on CIFAR-10, with drop path up to 0.3 (their code;
it trains with batch 128, here 96 as in DARTS).
Takes: about as long as train_cifar10.
Command: python -m jdarts.train PDARTS train_cifar100 --data.dir DIR
"""

from jdarts.data import DataConfig
from jdarts.train_config import TrainConfig


def get_config() -> TrainConfig:
    return TrainConfig(
        name="train_cifar100",
        drop_path=0.3,
        data=DataConfig(name="cifar100", cutout=16),
    )
