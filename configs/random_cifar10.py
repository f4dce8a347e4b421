"""Random sampling with shared weights on CIFAR-10: what every search has to beat.

Reproduces: Li, Talwalkar, 'Random Search and Reproducibility for NAS', UAI 2019, as far
as its idea goes: 8 cells, 16 channels, 250 epochs of batches of 64, of which the last
25 score 100 random cells on 97 validation batches each, by their loss and with each
batch's statistics. Theirs has 300 epochs, draws cells with `none`, too, and scores more
of them, by the error with running statistics, the better ones on more images.
Expected: their retrained cell makes 2.85 +- 0.08 % test error.
Takes: the paper, 2.7 GPU days.
Command: python -m jdarts.search random_cifar10 --data.dir DIR
"""

from jdarts.config import SearchConfig
from jdarts.data import DataConfig
from jdarts.methods.random_sampling import RandomSamplingConfig


def get_config() -> SearchConfig:
    return SearchConfig(
        name="random_cifar10",
        epochs=250,
        data=DataConfig(name="cifar10"),
        method=RandomSamplingConfig(),
    )
