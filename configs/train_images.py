"""The general training: a network of the search's size, on the images of the search.

Reproduces nothing; it is the recipe of data that have no other. After a search
(`python -m jdarts.train RUN`) it is sized by that search, which was sized by whoever
started it: twice its channels, its number of cells, its stem and its batch size, three
times its epochs, and its images with all options but how the search divides them. It
then takes less time than the search. It is judged by the test images; where the data
have none, by a part of the training images (--evaluate-on).
Command: python -m jdarts.train RUN
Command, other data: python -m jdarts.train DARTS_V2 train_images \\
    --data.name image_folder --data.dir DIR
"""

from jdarts.data import DataConfig
from jdarts.train_config import TrainConfig
from jdarts.training import TrainOptimizer


def get_config() -> TrainConfig:
    return TrainConfig(
        name="train_images",
        channels=16,
        layers=5,
        auxiliary=False,
        drop_path=0.1,
        epochs=60,
        batch_size=64,
        evaluate_on="auto",
        optimizer=TrainOptimizer(lr=0.05),
        data=DataConfig(name="image_folder"),
    )
