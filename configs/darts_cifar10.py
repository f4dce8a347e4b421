"""DARTS on CIFAR-10 as published: exact second order instead of a finite difference.

Reproduces: Liu, Simonyan, Yang, 'DARTS', ICLR 2019, the search of section 3.1.1, with
the settings of the authors' code: 8 cells, 16 channels, 50 epochs, batch 64, the first
25,000 images for the weights and the others for the architecture, no cutout. Unlike
their loader, the incomplete last batch of an epoch is dropped (390 steps, not 391).
Initial values are those of PyTorch since 1.2; their PyTorch 0.3.1 began with depthwise
weights that are smaller by the root of the channels, and drew the normalisers' scales
from (0, 1).
Expected: a supernet validation accuracy of 87 to 89 % (the authors' logs, on augmented
images; here plain ones are judged, and better); their retrained cells, each the best of
four searches by validation accuracy, make 3.00 +- 0.14 % (first order) and 2.76 +-
0.09 % (second order) test error, over trainings of that one cell.
Takes: the authors' code, 0.4 (first order) and 1 (second) GPU days a search.
Command, second order: python -m jdarts.search darts_cifar10 --data.dir DIR
Command, first order: python -m jdarts.search darts_cifar10 --data.dir DIR \\
    --name darts_cifar10_first --method.hypergradient.name first_order
Command, as the 2018 code: python -m jdarts.search darts_cifar10 --data.dir DIR \\
    --name darts_cifar10_2018 --method.hypergradient.name finite_difference
"""

from jdarts.config import SearchConfig
from jdarts.data import DataConfig


def get_config() -> SearchConfig:
    return SearchConfig(name="darts_cifar10", data=DataConfig(name="cifar10"))
