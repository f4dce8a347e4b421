"""A small search for a recurrent cell on English text that comes with Python.

Reproduces nothing; the space, the cell, the method and its exact second order are the
published ones, the network (32 units) and the text (0.4 million characters of Python's
own documentation, predicted one by one) are small.
Command: python -m jdarts.search rnn_demo
"""

from jdarts.data import TextConfig
from jdarts.methods.darts import DartsConfig
from jdarts.methods.optimizers import ArchOptimizer, WeightOptimizer
from jdarts.nets.recurrent import Dropout
from jdarts.text_config import TextSearchConfig


def get_config() -> TextSearchConfig:
    return TextSearchConfig(
        name="rnn_demo",
        units=32,
        length=20,
        epochs=5,
        batch_size=64,
        dropout=Dropout(output=0.1, hidden=0.0, input=0.1, embedded=0.0),
        data=TextConfig(name="topics", level="character"),
        method=DartsConfig(
            weights=WeightOptimizer(
                lr=10.0, lr_min=None, momentum=0.0, weight_decay=5e-7, clip=0.25
            ),
            arch=ArchOptimizer(lr=3e-3, b1=0.9),
            clip_virtual=True,
        ),
    )
