"""SGAS on CIFAR-10 with the settings of the authors' code.

Reproduces: Li et al., 'SGAS', CVPR 2020: 8 cells, 16 channels, 50 epochs of batches of
64, first order, an edge of both cells decided after epochs 10, 15, ..., 45 by
criterion 1 (criterion 2: --method.criterion 2). Left out: their code enlarges the batch
by 8 with each decision.
Expected: their retrained cells make 2.66 +- 0.24 % test error with criterion 1 (best:
2.39 %; see train_cifar10).
Takes: the paper, 0.25 GPU days a search; here every step costs as much as one of
first-order DARTS.
Command: python -m jdarts.search sgas_cifar10 --data.dir DIR
"""

from jdarts.config import SearchConfig
from jdarts.data import DataConfig
from jdarts.methods.sgas import SgasConfig


def get_config() -> SearchConfig:
    return SearchConfig(
        name="sgas_cifar10",
        data=DataConfig(name="cifar10"),
        method=SgasConfig(),
    )
