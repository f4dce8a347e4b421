"""WikiText-2, 700 units: the published transfer of cells found on the Penn Treebank.

Reproduces: Liu, Simonyan, Yang, 'DARTS', ICLR 2019, section 3.3. Published, with
RNN_DARTS_V2 and 33 M parameters: 71.2 on the validation, 69.6 on the test text (see
train_ptb).
Command: python -m jdarts.train runs/darts_ptb train_wikitext2 --data.dir DIR
"""

from jdarts.data import TextConfig
from jdarts.methods.optimizers import WeightOptimizer
from jdarts.nets.recurrent import Dropout
from jdarts.text_train_config import TextTrainConfig


def get_config() -> TextTrainConfig:
    return TextTrainConfig(
        name="train_wikitext2",
        units=700,
        dropout=Dropout(hidden=0.15, word=0.1),
        optimizer=WeightOptimizer(
            lr=20.0, lr_min=None, momentum=0.0, weight_decay=5e-7, clip=0.25
        ),
        data=TextConfig(name="wikitext2"),
    )
