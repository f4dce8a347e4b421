"""Searches and their folders, as a search leaves them, without searching."""

import functools
from pathlib import Path

import numpy as np

from jdarts import DartsConfig
from jdarts.comparisons.plan import make_plan
from jdarts.comparisons.searches import Search
from jdarts.config import SearchConfig, to_json
from jdarts.data import DataConfig
from jdarts.io import GenotypeLog, write_json
from jdarts.methods import random_genotype_of
from jdarts.nets.cost import NetworkShape
from jdarts.spaces import TOY
from jdarts.spaces.random import random_genotype

SHAPE = NetworkShape(channels=2, layers=3, classes=10, image=(8, 8, 1))


def toy_config(**changes):
    data = DataConfig(name="digits", limit=96, crop_padding=1, flip=False)
    settings = {"space": "toy", "epochs": 3, "data": data, "seed": 0}
    return SearchConfig(**settings | changes)


def genotype(number):
    return random_genotype(TOY, np.random.default_rng(number))


def write_search(path, config, genotypes, finished=True):
    """A search whose epochs had these genotypes, the last one being its result."""
    path.mkdir(parents=True)
    write_json(path / "config.json", to_json(config))
    write_seed(path, genotypes, finished)
    return path


def write_seed(path, genotypes, finished=True):
    path.mkdir(exist_ok=True)
    log = GenotypeLog(path / "genotype.json")
    for epoch, found in enumerate(genotypes, 1):
        log.record(epoch, found)
    if finished:
        log.finish(genotypes[-1])


def write_seeds(path, config, genotypes):
    """A search of several seeds, with the genotypes of each."""
    path.mkdir(parents=True)
    write_json(path / "config.json", to_json(config))
    for seed, own in zip(config.seeds, genotypes, strict=True):
        folder = path / f"seed_{seed}"
        write_seed(folder, own)
        write_json(folder / "config.json", to_json(config.with_seed(seed)))
        (folder / "part.txt").write_text("\n")
    return path


def search(*numbers, method=DartsConfig()):  # noqa: B008 (frozen)
    """A search whose epochs had the genotypes of these numbers."""
    config = toy_config()
    return Search(
        path=Path(f"run_{numbers}"),
        seed=0,
        space="toy",
        data=config.data,
        images=None,
        genotype=genotype(numbers[-1]),
        epochs={epoch: genotype(n) for epoch, n in enumerate(numbers, 1)},
        draw=functools.partial(random_genotype_of, method, TOY),
    )


def plan(*searches, **options):
    return make_plan(searches, SHAPE, **{"random": 4, "tolerance": 0.1} | options)
