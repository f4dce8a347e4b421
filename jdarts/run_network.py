"""The network that a run's genotype is trained in: by its recipe, for its images."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

from jdarts.config import from_json
from jdarts.data import load
from jdarts.errors import UserError
from jdarts.io import read_json
from jdarts.io.data_facts import DataFacts
from jdarts.nets.cost import NetworkShape
from jdarts.recipes import recipe_of_search
from jdarts.train_config import Recipe, TrainConfig, recipe_from_json

__all__ = ["PUBLISHED", "RunNetwork", "network_of_run"]


class RunNetwork(NamedTuple):
    """A network, and whose it is.

    Attributes:
      shape: all of it but its genotype.
      source: where its size is from, in words.
    """

    shape: NetworkShape
    source: str

    @property
    def described(self) -> str:
        """The size and whose it is, in words."""
        return f"{self.shape.described} ({self.source})"

    def resized(self, **sizes: Any) -> "RunNetwork":
        """The same with other sizes, where they are not None."""
        given = {name: size for name, size in sizes.items() if size is not None}
        if not given:
            return self
        rest = len(given) < len(dataclasses.fields(NetworkShape))
        source = f"{', '.join(given)} as given"
        if rest:
            source += f", the rest {self.source}"
        return RunNetwork(dataclasses.replace(self.shape, **given), source)


PUBLISHED = RunNetwork(
    NetworkShape(channels=36, layers=20, classes=10, image=(32, 32, 3)),
    "as the DARTS paper trains on CIFAR-10",
)
"""For genotypes that belong to no run (ICLR 2019, section 3.2)."""


def network_of_run(folder: Path) -> RunNetwork | None:
    """The network of a training, or of the recipe that goes with a search.

    Args:
      folder: of the run, or of a part of it.

    Returns:
      None where there is none: no run is there, it is one on texts, or the size of its
      images is not known any more.

    Raises:
      UserError: if a file in the folder is damaged.
    """
    file = folder / "config.json"
    data = read_json(file) if file.is_file() else None
    if not isinstance(data, dict) or data.get("kind") == "compare":
        return None
    recipe: Recipe
    if "genotype" in data:
        recipe = recipe_from_json(data, str(file))
        source = f"of the training '{recipe.name}'"
    else:
        recipe = recipe_of_search(from_json(data, str(file)))
        source = f"of the recipe {recipe.name}"
    if not isinstance(recipe, TrainConfig):
        return None
    facts = DataFacts.read(folder) or _read_again(recipe)
    if facts is None:
        return None
    shape = NetworkShape(
        channels=recipe.channels,
        layers=recipe.layers,
        classes=len(facts.classes),
        image=facts.image,
        stem=recipe.stem,
    )
    return RunNetwork(shape, source)


def _read_again(recipe: TrainConfig) -> DataFacts | None:
    """Of a run that was made before runs wrote it down."""
    try:
        return DataFacts.of(load(recipe.data))
    except UserError:
        return None
