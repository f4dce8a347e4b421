"""The default: a small DARTS search on real handwritten digits, on any CPU.

Reproduces nothing; the space, the method and its second order are the published ones,
the network and the images are small (8 x 8 pixels, 1797 images from scikit-learn).
Expected: a supernet accuracy of 97 % on the validation half (one seed; always the most
frequent class: 10 %).
Takes: 100 s on 2 CPU cores, 50 s once compiled.
Command: python -m jdarts.search
"""

from jdarts.config import SearchConfig
from jdarts.data import DataConfig
from jdarts.methods.darts import DartsConfig
from jdarts.methods.optimizers import ArchOptimizer


def get_config() -> SearchConfig:
    return SearchConfig(
        name="digits",
        channels=4,
        layers=3,
        epochs=10,
        batch_size=32,
        data=DataConfig(name="digits", crop_padding=1, flip=False),
        # Few steps: the architecture has to move faster than in the published search.
        method=DartsConfig(arch=ArchOptimizer(lr=3e-3)),
    )
