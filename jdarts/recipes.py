"""Which recipe goes with a search: that of its data set, or the general one of its
task, sized by the search."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jdarts.config import AnySearchConfig
from jdarts.data import DataConfig
from jdarts.spaces import get_space
from jdarts.text_train_config import TextTrainConfig
from jdarts.train_config import (
    RECIPE,
    Recipe,
    TrainConfig,
    load_recipe,
    recipe_names,
    task_of,
)

__all__ = ["GENERAL", "general_recipe", "on_images_of", "recipe_of_search"]

GENERAL = {"images": "train_images", "text": "train_text"}
"""The recipe of data that have no other, by task."""

# Fields of DataConfig that say how images are used, not which ones there are.
_USE = ("valid_fraction", "split", "crop_padding", "flip", "cutout")
# Sizes of a general recipe, as multiples of the search's.
_WIDER, _LONGER = 2, 3


def recipe_of_search(search: AnySearchConfig) -> Recipe:
    """How what a search has found is trained unless another recipe is named.

    Args:
      search: the configuration of the search.

    Returns:
      The recipe of the search's data set, on the search's files (of a text read in the
      same way); of other data the general recipe, sized by the search, on its data.
    """
    own = f"{RECIPE}{search.data.name}"
    if own in recipe_names():
        recipe: Any = load_recipe(own)
        if task_of(recipe) == "text":
            return dataclasses.replace(recipe, data=search.data)
        data: Any = search.data
        return on_images_of(recipe, dataclasses.replace(data, classes=None, limit=None))
    return general_recipe(search)


def general_recipe(search: AnySearchConfig) -> Recipe:
    """The general recipe of the search's task, sized by the search, on its data."""
    task = get_space(search.space).task
    return _SIZED[task](load_recipe(GENERAL[task]), search)


def on_images_of(recipe: TrainConfig, data: DataConfig) -> TrainConfig:
    """A recipe on the images of a search: the same ones, used as the recipe says."""
    kept = {name: getattr(recipe.data, name) for name in _USE}
    if data.limit is not None:
        kept["split"] = data.split  # says which ones the limit keeps
    return dataclasses.replace(recipe, data=dataclasses.replace(data, **kept))


def _sized_images(recipe: TrainConfig, search: Any) -> TrainConfig:
    return dataclasses.replace(
        recipe,
        channels=_WIDER * search.channels,
        layers=search.layers,
        stem=search.stem,
        epochs=_LONGER * search.epochs,
        batch_size=search.batch_size,
        compute_dtype=search.compute_dtype,
        data=_undivided(search.data),
    )


def _undivided(data: DataConfig) -> DataConfig:
    """Without how a search divides its training images, which a training need not."""
    split = None if data.limit is None else data.split  # says which ones are kept
    fraction = DataConfig.valid_fraction
    return dataclasses.replace(data, valid_fraction=fraction, split=split)


def _sized_text(recipe: TextTrainConfig, search: Any) -> TextTrainConfig:
    weights = getattr(search.method, "weights", recipe.optimizer)
    return dataclasses.replace(
        recipe,
        units=_WIDER * search.units,
        length=search.length,
        halved=search.halved,
        deviation=min(recipe.deviation, search.length),
        epochs=_LONGER * search.epochs,
        batch_size=max(2, search.batch_size // 2),
        dropout=search.dropout,
        optimizer=dataclasses.replace(recipe.optimizer, lr=weights.lr),
        data=search.data,
    )


_SIZED: dict[str, Callable[[Any, Any], Recipe]] = {
    "images": _sized_images,
    "text": _sized_text,
}
