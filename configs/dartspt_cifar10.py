"""The supernet of DARTS-PT on CIFAR-10 as published, for a genotype by perturbation.

Reproduces: Wang et al., 'Rethinking Architecture Selection in Differentiable NAS', ICLR
2021: DARTS, first order, in the space without `none`: 50 epochs of batches of 64, 8
cells, 16 channels. The second command then decides in 17 rounds, with 5 epochs of
tuning between two of them. Candidates are judged on images as they are, in one order
(theirs: augmented, each in another order); edges come in one random order (theirs: one
for each cell); `none` is never a candidate (theirs: in S3 it is).
Expected: the authors' retrained cells make 2.61 +- 0.08 % test error
(see train_cifar10).
Command: python -m jdarts.search dartspt_cifar10 --data.dir DIR
Command: python -m jdarts.perturb runs/dartspt_cifar10
Command, an architecture that is never trained: python -m jdarts.search \\
    dartspt_cifar10 --data.dir DIR --name dartspt_fixed --method.warmup 0.999
"""

from jdarts.config import SearchConfig
from jdarts.data import DataConfig
from jdarts.hypergradient import HypergradientConfig
from jdarts.methods.darts import DartsConfig


def get_config() -> SearchConfig:
    return SearchConfig(
        name="dartspt_cifar10",
        space="darts_cnn_7",
        data=DataConfig(name="cifar10"),
        method=DartsConfig(hypergradient=HypergradientConfig("first_order")),
    )
