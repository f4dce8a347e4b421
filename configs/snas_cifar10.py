"""SNAS on CIFAR-10 with the settings of the authors' code: one level.

Reproduces: Xie, Zheng, Liu, Lin, 'SNAS', ICLR 2019, without its resource constraint: 8
cells, 16 channels, 150 epochs of batches of 64, temperature from 1 to 0.03, weights and
architecture by the same loss, paths dropped at a rate of 0.3. It keeps a tenth of the
training images to show an accuracy (theirs the test images); their first epoch's
temperature is that of this one's second. Alpha has Adam here, as in their distributed
program; that for one GPU has SGD.
Expected: their retrained cells make 2.85 to 3.10 % test error. In their evaluation
network a normaliser with scale and shift follows each pool; in train_cifar10's none.
Takes: the paper, 1.5 GPU days a search.
Command: python -m jdarts.search snas_cifar10 --data.dir DIR
Command, two levels: python -m jdarts.search snas_cifar10 --data.dir DIR \\
    --name snas_cifar10_bilevel --method.bilevel --data.valid-fraction 0.5
"""

from jdarts.config import SearchConfig
from jdarts.data import DataConfig
from jdarts.methods.drop_path import DropPathConfig
from jdarts.methods.snas import SnasConfig


def get_config() -> SearchConfig:
    return SearchConfig(
        name="snas_cifar10",
        epochs=150,
        data=DataConfig(name="cifar10", valid_fraction=0.1),
        drop_path=DropPathConfig(0.3, "constant"),
        method=SnasConfig(),
    )
