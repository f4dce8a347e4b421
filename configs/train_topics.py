"""The default training of recurrent cells: English text that comes with Python.

Reproduces nothing; SGD, its average, the dropouts and the test are the published ones,
the network (64 units) and the text (0.4 million characters) are small.
Command: python -m jdarts.train RNN_DARTS_V2
"""

from jdarts.data import TextConfig
from jdarts.methods.optimizers import WeightOptimizer
from jdarts.nets.recurrent import Dropout
from jdarts.text_train_config import TextTrainConfig


def get_config() -> TextTrainConfig:
    return TextTrainConfig(
        name="train_topics",
        units=64,
        length=25,
        deviation=3.0,
        epochs=15,
        batch_size=32,
        test_batch=10,
        dropout=Dropout(output=0.1, hidden=0.05, input=0.1, embedded=0.05),
        optimizer=WeightOptimizer(
            lr=10.0, lr_min=None, momentum=0.0, weight_decay=8e-7, clip=0.25
        ),
        data=TextConfig(name="topics", level="character"),
    )
