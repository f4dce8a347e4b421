"""PC-DARTS on CIFAR-10 as published.

Reproduces: Xu et al., 'PC-DARTS', ICLR 2020, the search of section 4.2, with the
settings of the authors' code: 8 cells, 16 channels of which a quarter goes through the
ops, 50 epochs of batches of 256, of which the first 15 train the weights alone, first
order, the first 25,000 images for the weights and the others for the architecture, no
cutout. The incomplete last batch of an epoch is dropped (97 steps, not 98).
Expected: the authors' retrained cell, a chosen one, makes 2.57 +- 0.07 % test error
(see train_cifar10).
Takes: the authors' code, 0.1 GPU days a search.
Command: python -m jdarts.search pcdarts_cifar10 --data.dir DIR
Command, exact second order: python -m jdarts.search pcdarts_cifar10 --data.dir DIR \\
    --name pcdarts_cifar10_second --method.hypergradient.name unrolled
"""

from jdarts.config import SearchConfig
from jdarts.data import DataConfig
from jdarts.methods.pc_darts import PcDartsConfig


def get_config() -> SearchConfig:
    return SearchConfig(
        name="pcdarts_cifar10",
        batch_size=256,
        data=DataConfig(name="cifar10"),
        method=PcDartsConfig(),
    )
