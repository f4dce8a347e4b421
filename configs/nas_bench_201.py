"""DARTS, exact second order, in the space of NAS-Bench-201 on CIFAR-10.

Reproduces: Dong, Yang, 'NAS-Bench-201', ICLR 2020, its search by DARTS: 15 cells, 16
channels, 50 epochs of batches of 64, Nesterov's momentum, with an exact derivative in
place of a difference quotient. The virtual step has Nesterov's momentum, too, theirs
a plain one, so that the second-order term is 1.9 times theirs. Other methods get the
benchmark's optimiser of the weights as well (for DrNAS, which has no warm-up there, add
--method.warmup 0). The halves are the first and the last 25,000 images (theirs: by a
file of indices).
Expected: collapse to skip connections, whose cell has 54.30 % in the table (best of all
cells: 94.37 %). These cells cannot be trained here by themselves.
Takes: not known.
Command: python -m jdarts.search nas_bench_201 --data.dir DIR --table nb201.npz
Command, another method: python -m jdarts.search nas_bench_201 --data.dir DIR \\
    --table nb201.npz --name nas_bench_201_gdas --epochs 250 --method gdas
"""

from jdarts.config import SearchConfig
from jdarts.data import DataConfig
from jdarts.methods.darts import DartsConfig
from jdarts.methods.optimizers import WeightOptimizer


def get_config() -> SearchConfig:
    return SearchConfig(
        name="nas_bench_201",
        space="nas_bench_201",
        layers=15,
        data=DataConfig(name="cifar10"),
        method=DartsConfig(weights=WeightOptimizer(weight_decay=5e-4, nesterov=True)),
    )
