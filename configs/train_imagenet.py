"""Training on ImageNet in the mobile setting, as far as the data's form allows.

Reproduces: Liu, Simonyan, Yang, 'DARTS', ICLR 2019, section 3.3 and appendix A.3,
with the settings of the authors' code: 14 cells, 48 channels, 250 epochs, batch 128,
learning rate 0.1 times 0.97 an epoch, weight decay 3e-5, label smoothing 0.1, auxiliary
classifier 0.4, no drop path. Not theirs: the images. They have to lie in a folder, be
brought to 224 x 224 pixels (--data.resize, unless the files are) and fit into the
device's memory as uint8; a random crop with a padding of 28 and a flip take the place
of the random resized crop, flip and colour jitter. Give a published figure only with
that said: it overfits sooner. All of ImageNet takes 193 GB so, more than one
accelerator has. Normalised is by the images' own means and deviations; P-DARTS'
auxiliary classifier has a second normaliser, this one not.
Expected: the authors' code with its augmentation, DARTS_V2: 26.7 % top-1 and 8.7 %
top-5 error; whether of the last epoch or of the best on the test images is not said.
Takes: the authors' code, 12 GPU days.
Command: python -m jdarts.train DARTS_V2 train_imagenet --data.dir DIR \\
    --data.resize 224 224
Command, as PC-DARTS: python -m jdarts.train PC_DARTS_image train_imagenet \\
    --data.dir DIR --data.resize 224 224 --batch-size 1024 --optimizer.lr 0.5 \\
    --optimizer.schedule linear --optimizer.warmup-epochs 5
"""

from jdarts.data import DataConfig
from jdarts.train_config import TrainConfig
from jdarts.training import TrainOptimizer


def get_config() -> TrainConfig:
    return TrainConfig(
        name="train_imagenet",
        channels=48,
        layers=14,
        stem="imagenet",
        drop_path=0.0,
        label_smoothing=0.1,
        epochs=250,
        batch_size=128,
        optimizer=TrainOptimizer(lr=0.1, weight_decay=3e-5, schedule="exponential"),
        data=DataConfig(name="image_folder", crop_padding=28),
    )
