"""Training on CIFAR-10 as published.

Reproduces: Liu, Simonyan, Yang, 'DARTS', ICLR 2019, section 3.2.1 and appendix A.2,
with the settings of the authors' code: 20 cells, 36 channels, 600 epochs, batch 96,
auxiliary classifier 0.4, drop path up to 0.2, cutout 16. Unlike their loader, the
incomplete last batch of an epoch is dropped, and initial values are those of PyTorch
since 1.2 (see darts_cifar10). PC-DARTS, P-DARTS and DrNAS differ by --drop-path 0.3,
P-DARTS also by --batch-size 128, DrNAS by --batch-size 64.
Expected: test error of DARTS_V1 3.00 +- 0.14 %, of DARTS_V2 2.76 +- 0.09 % (the
paper's 10 trainings each), of PC_DARTS_cifar 2.57 +- 0.07 % (its README). Figures that
searches' configurations expect are of cells that their authors have chosen among
several, and in part of the epoch that was best on the test images (PC-DARTS, DrNAS,
SGAS, Fair DARTS, DARTS-PT); the mean of one's own searches after the last epoch is
lower.
Takes: the authors' code, 1.5 GPU days.
Command: python -m jdarts.train DARTS_V2 train_cifar10 --data.dir DIR
"""

from jdarts.data import DataConfig
from jdarts.train_config import TrainConfig


def get_config() -> TrainConfig:
    return TrainConfig(name="train_cifar10", data=DataConfig(name="cifar10", cutout=16))
