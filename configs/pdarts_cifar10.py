"""P-DARTS on CIFAR-10 with the settings of the paper.

Reproduces: the search of Chen et al., 'P-DARTS', ICCV 2019: three stages of 25 epochs
with networks of 5, 11 and 17 cells, 16 channels, whose edges have 8, 5 and 3
primitives; batches of 96, first order, dropout 0.0, 0.4 and 0.7 after identities (the
command of the authors' code begins with 0.1), at most two skip connections in the
normal cell. Each epoch of theirs reads every validation image once, here each step
draws anew. On CIFAR-100 the paper takes dropouts
0.1 0.2 0.3 (--method.skip-dropout 0.1 0.2 0.3).
Expected: the paper's retrained cell, a chosen one, makes 2.50 % test error (see
train_cifar10).
Takes: the authors, 7 h on a P100.
Command: python -m jdarts.search pdarts_cifar10 --data.dir DIR
"""

from jdarts.config import SearchConfig
from jdarts.data import DataConfig
from jdarts.methods.p_darts import PDartsConfig


def get_config() -> SearchConfig:
    return SearchConfig(
        name="pdarts_cifar10",
        layers=5,
        epochs=75,
        batch_size=96,
        max_skips=2,
        data=DataConfig(name="cifar10"),
        method=PDartsConfig(),
    )
