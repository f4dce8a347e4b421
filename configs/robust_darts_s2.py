"""RobustDARTS: DARTS that stops when its curvature grows, in space S2, on CIFAR-10.

Reproduces: Zela et al., 'Understanding and Robustifying DARTS', ICLR 2020, DARTS-ES of
section 4.3: exact second order, 8 cells, 16 channels, 50 epochs, batch 64; the
curvature after every second epoch, means of 5 measurements, a stop when the mean has
grown 1.3-fold in 8 epochs, and the genotype of then. Its regularisers (section 5) are
options: drop path up to 0.2, 0.4 or 0.6, and weight decay of 9e-4, 27e-4 or 81e-4.
Their drop path brings cutout with it, of each image with a probability that grows
alike; here cutout is of all images or of none (--data.cutout). Not there: the adaptive
variant (ADA), which goes back and raises them.
Expected: without the stop the derived cells of S2 make 4.85 % test error on CIFAR-10.
Takes: as darts_cifar10, and 25 measurements.
Command: python -m jdarts.search robust_darts_s2 --data.dir DIR
Command, drop path: python -m jdarts.search robust_darts_s2 --data.dir DIR \\
    --name robust_darts_s2_dp --drop-path.rate 0.4
Command, weight decay: python -m jdarts.search robust_darts_s2 --data.dir DIR \\
    --name robust_darts_s2_l2 --method.weights.weight-decay 27e-4
Command, other spaces: python -m jdarts.search robust_darts_s2 --data.dir DIR \\
    --name robust_darts_s4 --space s4
"""

from jdarts.config import SearchConfig
from jdarts.curvature import CurvatureConfig
from jdarts.data import DataConfig


def get_config() -> SearchConfig:
    return SearchConfig(
        name="robust_darts_s2",
        space="s2",
        curvature=CurvatureConfig(every=2, stop=1.3),
        data=DataConfig(name="cifar10"),
    )
