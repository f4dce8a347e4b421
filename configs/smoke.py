"""The whole way in the shortest time: the toy space on handwritten digits.

Reproduces nothing; shows that an installation works.
Expected: a supernet accuracy of 76 % on the validation half (one seed; always the most
frequent class: 12 %).
Takes: under a minute on 2 CPU cores, most of it compiling; seconds once compiled.
Command: python -m jdarts.search smoke
"""

from jdarts.config import SearchConfig
from jdarts.data import DataConfig
from jdarts.methods.darts import DartsConfig
from jdarts.methods.optimizers import ArchOptimizer, WeightOptimizer


def get_config() -> SearchConfig:
    return SearchConfig(
        name="smoke",
        space="toy",
        channels=4,
        layers=3,
        epochs=10,
        batch_size=32,
        data=DataConfig(name="digits", limit=512, crop_padding=1, flip=False),
        # Few steps: weights and architecture have to move fast.
        method=DartsConfig(
            weights=WeightOptimizer(lr=0.1), arch=ArchOptimizer(lr=3e-3)
        ),
    )
