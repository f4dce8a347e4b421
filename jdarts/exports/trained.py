"""A finished training: its network, ready to be exported, and images to check it on."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jdarts import compile
from jdarts.data import augment_spec, normalise
from jdarts.errors import UserError
from jdarts.exports.inference import InferenceNetwork
from jdarts.exports.weights import named_weights
from jdarts.io import Checkpoints, read_json
from jdarts.io.data_facts import DataFacts
from jdarts.io.run_folder import PART_FILE
from jdarts.loops.programs import abstract
from jdarts.loops.train import TrainSetup, train_setup
from jdarts.loops.train_record import read_results
from jdarts.nets.fixed import fixed_network
from jdarts.phase import phased
from jdarts.spaces import Genotype
from jdarts.train_config import TrainConfig, for_images, recipe_from_json
from jdarts.types import PyTree

__all__ = ["Trained", "load_trained"]

_CHECKED = 64  # images


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
      path: the folder of the training.
      seed: of the training.
      config: its configuration.
      network: for inference.
      images: uint8 ``[N, height, width, channels]`` of the data set.
      logits: ``[N, classes]``: what the network itself says to them.
      class_names: one name a class, in the order of the logits.
    """

    path: Path
    seed: int
    config: TrainConfig
    network: InferenceNetwork
    images: np.ndarray
    logits: np.ndarray
    class_names: tuple[str, ...]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(height, width, channels)``"""
        height, width, channels = self.images.shape[1:]
        return height, width, channels


@phased("reading the trained network")
def load_trained(path: Path, seed: int | None = None) -> Trained:
    """Reads the newest checkpoint of a finished training.

    Args:
      path: the folder of the training.
      seed: which one, of several.

    Raises:
      UserError: if it is not the folder of a finished training, the seed is not one of
        its, or the data set is not there, or has other classes by now.
    """
    config, genotype = _read(path)
    seed = _choose(path, config, seed)
    start = train_setup(config, genotype)
    if (facts := DataFacts.read(path)) is not None:
        facts.check_classes(start.images, path)
    with Checkpoints(path / "checkpoints") as checkpoints:
        restored = checkpoints.restore(abstract(start.state))
    if restored is None:
        raise UserError(f"{path / 'checkpoints'}: holds no checkpoint; expected one")
    start = start._replace(images=start.images.normalised_by(restored.meta))
    states = start.seeds.each(restored.state)
    state = states[config.all_seeds.index(seed)]
    w, model_state = state.average or (state.w, state.model_state)
    held = start.images.test_images
    images = (held if len(held) else start.images.train_images)[:_CHECKED]
    network = InferenceNetwork(
        genotype=genotype,
        layers=config.layers,
        stem=config.stem,
        weights=named_weights(w, model_state),
        mean=start.images.mean,
        std=start.images.std,
    )
    logits = _logits(config, start, w, model_state, images)
    names = start.images.class_names if facts is None else facts.classes
    return Trained(path, seed, config, network, images, logits, names)


def _read(path: Path) -> tuple[TrainConfig, Genotype]:
    if (path / PART_FILE).exists():
        number = path.name.removeprefix("seed_")
        raise UserError(
            f"{path}: one seed of several; expected {path.parent} --seed {number}"
        )
    file = path / "config.json"
    if not file.is_file():
        what = "no such folder" if not path.is_dir() else "holds no config.json"
        raise UserError(f"{path}: {what}; expected the folder of a training")
    data = read_json(file)
    if not isinstance(data, dict) or "genotype" not in data:
        raise UserError(
            f"{path}: no training; expected the folder of one, as python -m "
            "jdarts.train makes it"
        )
    config = for_images(recipe_from_json(data, str(file)), str(path))
    read_results(path)  # there are some: the training has come to its end
    return config, Genotype.from_json(data["genotype"], str(file))


def _choose(path: Path, config: TrainConfig, seed: int | None) -> int:
    seeds = config.all_seeds
    if seed is None and len(seeds) == 1:
        return seeds[0]
    if seed not in seeds:
        found = "not given" if seed is None else str(seed)
        choices = ", ".join(map(str, seeds))
        raise UserError(f"--seed: {found}; {path} was trained with seeds {choices}")
    return seed


def _logits(
    config: TrainConfig,
    start: TrainSetup,
    w: PyTree,
    model_state: PyTree,
    images: np.ndarray,
) -> np.ndarray:
    """By the network of the training, in the type of its weights."""
    network = fixed_network(
        start.genotype,
        channels=config.channels,
        layers=config.layers,
        classes=start.images.num_classes,
        stem=config.stem,  # pyrefly: ignore (checked)
        auxiliary=config.auxiliary,
        scan=config.scan,
    )
    spec = augment_spec(config.data, start.images)

    def evaluate(w: PyTree, model_state: PyTree, images: jnp.ndarray) -> jnp.ndarray:
        return network.apply(w, model_state, normalise(images, spec), False)[0].logits

    return np.asarray(compile.jit(evaluate)(w, model_state, images))
