"""The whole way in the shortest time: the toy space on handwritten digits.

Reproduces nothing; shows that an installation works.
Takes: under a minute on 2 CPU cores, most of it compiling.
Command: python -m jdarts.search smoke
"""

from jdarts.config import SearchConfig
from jdarts.data import DataConfig


def get_config() -> SearchConfig:
    return SearchConfig(
        name="smoke",
        space="toy",
        channels=4,
        layers=3,
        epochs=2,
        batch_size=32,
        data=DataConfig(name="digits", limit=512, crop_padding=1, flip=False),
    )
