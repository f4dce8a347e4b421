"""ASAP on CIFAR-10: annealing and pruning.

Reproduces: the search of Noy et al., 'ASAP', AISTATS 2020, as far as it is known. The
authors published no code; temperatures 1.6 x 0.95^epoch and threshold 0.4 / 8 are those
of a third party's (UniNAS), all else is the search of DARTS, first order: 8 cells, 16
channels, 50 epochs of batches of 64. Alpha is trained, and ops are pruned, from the
11th epoch on. Theirs divides the threshold again for each edge, surely by mistake, also
drops paths, and prunes before alpha is trained, which changes nothing.
Expected: not known; the paper's 1.68 % test error is of a larger network, trained
differently.
Takes: the paper, 0.2 GPU days a search; here every step costs as much as one of
first-order DARTS.
Command: python -m jdarts.search asap_cifar10 --data.dir DIR
"""

from jdarts.config import SearchConfig
from jdarts.data import DataConfig
from jdarts.methods.asap import AsapConfig


def get_config() -> SearchConfig:
    return SearchConfig(
        name="asap_cifar10",
        data=DataConfig(name="cifar10"),
        method=AsapConfig(),
    )
