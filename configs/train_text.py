"""The general training of recurrent cells: on the text of the search.

Reproduces nothing; it is the recipe of texts that have no other. After a
search (`python -m jdarts.train RUN`) it is sized by that search: twice its units, its
length of segments, dropout and learning rate, half its columns, three times its epochs,
and its text, read in the same way.
Command: python -m jdarts.train RUN
Command, other text: python -m jdarts.train RNN_DARTS_V2 train_text --data.dir book.txt
"""

from jdarts.data import TextConfig
from jdarts.methods.optimizers import WeightOptimizer
from jdarts.nets.recurrent import Dropout
from jdarts.text_train_config import TextTrainConfig


def get_config() -> TextTrainConfig:
    return TextTrainConfig(
        name="train_text",
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
        data=TextConfig(name="file"),
    )
