"""PC-DARTS directly on ImageNet, as far as the data's form allows.

Reproduces: Xu et al., 'PC-DARTS', ICLR 2020, section 4.4, with the settings of the
authors' code: 8 cells, 16 channels of which half go through the ops, three stem
convolutions, 50 epochs of batches of 1024, of which the first 35 train the weights
alone, four in five images for the weights. Put an eighth of each class (10 % and 2.5 %
of ImageNet) into the folder; the images are brought to 224 x 224 pixels (--data.resize,
unless the files are) and kept in memory as uint8 (24 GB). Not theirs: a random crop
with a padding of 28 for the random resized crop, and no rise of the learning rate over
the first five epochs.
Expected: the authors' retrained cell makes 24.2 % top-1 and 7.3 % top-5 error.
Takes: the authors' code, 3.8 GPU days (8 GPUs).
Command: python -m jdarts.search pcdarts_imagenet --data.dir DIR \\
    --data.resize 224 224
"""

from jdarts.config import SearchConfig
from jdarts.data import DataConfig
from jdarts.methods.optimizers import ArchOptimizer, WeightOptimizer
from jdarts.methods.pc_darts import PcDartsConfig


def get_config() -> SearchConfig:
    return SearchConfig(
        name="pcdarts_imagenet",
        stem="imagenet",
        batch_size=1024,
        data=DataConfig(name="image_folder", valid_fraction=0.2, crop_padding=28),
        method=PcDartsConfig(
            k=2,
            warmup=0.7,
            weights=WeightOptimizer(lr=0.5, lr_min=0.0),
            arch=ArchOptimizer(lr=6e-3, clip=5.0),
        ),
    )
