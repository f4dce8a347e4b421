"""The configuration of a search: the parts' own settings, composed."""

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

from jdarts.config_fields import (
    RECIPE,
    check_cells,
    check_least,
    check_run,
    check_space,
    load_file,
    parse_fields,
    plain,
    renewed,
    settle_seeds,
    shipped,
)
from jdarts.curvature import CurvatureConfig
from jdarts.data import TEXTS, DataConfig, get_dataset
from jdarts.errors import UserError, unknown_choice
from jdarts.hardware import HardwareConfig
from jdarts.io.run_folder import EXTENDED
from jdarts.methods import get_method, learns_architecture, name_of
from jdarts.methods.darts import DartsConfig
from jdarts.methods.drop_path import DropPathConfig
from jdarts.nets.stems import STEMS
from jdarts.spaces import get_space
from jdarts.text_config import TextSearchConfig

__all__ = [
    "CONFIGS",
    "RECIPE",
    "AnySearchConfig",
    "SearchConfig",
    "check_cells",
    "check_least",
    "check_run",
    "config_names",
    "from_json",
    "load_config",
    "load_file",
    "parse_fields",
    "plain",
    "run_name",
    "settle_seeds",
    "shipped",
    "to_json",
]

_SEED = 2


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """Everything that a search depends on."""

    name: str = "search"
    """Name of the run: its folder is runs/NAME unless --run-dir says otherwise. Not
    given, a run on other data than the configuration's is named after its data."""
    space: str = "darts_cnn"
    """What is searched: a row of the SPACES table."""
    channels: int = 16
    """Width of the first cells; it doubles at every reduction. >= 1."""
    layers: int = 8
    """Number of cells, >= 1."""
    stem: str = "cifar"
    """What comes before the first cell: cifar (one convolution) or imagenet (three,
    which make images eight times smaller)."""
    epochs: int = 50
    """Passes over the images that train the weights, >= 1."""
    batch_size: int = 64
    """Images in a training batch and in a validation batch, >= 1. The images that are
    left at the end of an epoch, and fill no batch, are left out."""
    seed: int | None = None
    """Every random choice of the run derives from it; 0 to 4294967295. Not given: 2,
    unless there are seeds."""
    seeds: tuple[int, ...] | None = None
    """Instead of a seed several (--seeds 0 1 2): searched at once by one compiled
    program, each as in a run of its own, with results in its own folder seed_N."""
    remat: bool = False
    """Compute the inside of each cell again in backward passes: less memory, more time.
    """
    compute_dtype: str = "default"
    """What the network computes in. default: the type of its weights, float32 (float64
    in JAX's x64 mode); bfloat16: half the memory and faster on TPUs and GPUs, while
    weights, statistics, losses and optimisers stay in that type."""
    steps: int | None = None
    """Stop after this many steps in all (for a trial); not given: after all epochs."""
    log_every: int = 10
    """Write the metrics of every this-many-th step, >= 1."""
    checkpoint_minutes: float = 10.0
    """Save a checkpoint at least this often (and after every epoch), > 0."""
    table: Path | None = None
    """A table of trained cells (space nas_bench_201): after every epoch the derived
    cell's accuracy in it is written down."""
    table_data: str | None = None
    """What the table's cells were trained on: c10 (CIFAR-10), c100 or in16; not given:
    c10."""
    max_skips: int | None = None
    """Most skip connections of the derived normal cell, >= 0: the strongest stay, the
    others' edges get their runner-up; with any method that learns the architecture.
    Not given: any number."""
    drop_path: DropPathConfig = DropPathConfig()
    """Drop path in the search network."""
    curvature: CurvatureConfig = CurvatureConfig()
    """How sharp the search's minimum is, and stopping early because of it."""
    data: DataConfig = DataConfig()
    """The images."""
    hardware: HardwareConfig = HardwareConfig()
    """What the networks cost, and whether that is minimised as well."""
    method: object = DartsConfig()
    """How it is searched; --method NAME takes another row of the METHODS table."""

    def __post_init__(self) -> None:
        """Checks each value.

        Raises:
          UserError: it names the field as on the command line.
        """
        check_space(self.space, "images")
        if self.stem not in STEMS:
            raise unknown_choice("--stem", self.stem, STEMS)
        check_run(self)
        check_cells(self)
        self.drop_path.check("--drop-path", self.epochs)
        self.curvature.check("--curvature", self.epochs)
        settle_seeds(self, _SEED)
        learns, method = learns_architecture(self.method), name_of(self.method)
        if self.max_skips is not None and not learns:
            raise UserError(
                f"--max-skips: --method {method} learns no order of the primitives, so "
                "that an edge has no runner-up; expected no cap, or a method that "
                "learns the architecture by gradients, as darts"
            )
        self.hardware.check(learns, method)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds, be it one or several."""
        if self.seeds is not None:
            return self.seeds
        return (_SEED if self.seed is None else self.seed,)

    def with_seed(self, seed: int) -> "SearchConfig":
        """The configuration of that seed alone."""
        return dataclasses.replace(self, seed=seed, seeds=None)

    def with_method(self, method: Any) -> "SearchConfig":
        """The same search by another method.

        The weights' optimiser is the method's own, unless the configuration has set
        one: then it is its data's or its benchmark's (NAS-Bench-201), for every method.
        """
        own = getattr(self.method, "weights", None)
        is_set = own != getattr(type(self.method)(), "weights", None)
        if is_set and "weights" in {f.name for f in dataclasses.fields(method)}:
            method = dataclasses.replace(method, weights=own)
        return dataclasses.replace(self, method=method)

    @property
    def described(self) -> str:
        """What is searched, in words."""
        cells = f"{self.layers} cells of {self.channels} channels"
        return f"{self.space}, {cells}, on {self.data.name}"


AnySearchConfig = SearchConfig | TextSearchConfig
"""The configuration of a search."""


def run_name(base: AnySearchConfig, config: AnySearchConfig) -> str:
    """The name of a run that has been given none.

    That of its configuration; on other data than that configuration's, what names the
    data: of data of one's own the folder, or the file without its ending, else the
    data set. Configurations that are not named after their data come first:
    ``smoke_flowers``.

    Args:
      base: the configuration that was named on the command line.
      config: what has become of it.
    """
    data: Any = config.data
    if data.name == base.data.name:
        return base.name
    row = TEXTS[data.name] if data.name in TEXTS else get_dataset(data.name)
    word = data.name
    if row.own and data.dir is not None:
        place = Path(os.path.abspath(data.dir))
        word = (place.stem if place.is_file() else place.name) or word
    word = re.sub(r"[^\w-]+", "_", word).strip("_-") or "search"
    return word if base.name == base.data.name else f"{base.name}_{word}"


CONFIGS: dict[str, type[SearchConfig] | type[TextSearchConfig]] = {
    "images": SearchConfig,
    "text": TextSearchConfig,
}
"""What a space is for to the configuration of its searches."""


def config_names() -> dict[str, Path]:
    """The configurations of searches that come with jdarts: name to file."""
    return {n: file for n, file in shipped().items() if not n.startswith(RECIPE)}


def load_config(which: str) -> AnySearchConfig:
    """Reads a configuration.

    Args:
      which: the name of one that comes with jdarts, a Python file that defines
        ``get_config()``, or a run's ``config.json``.

    Raises:
      UserError: if there is none, or it is not a configuration.
    """
    return load_file(which, config_names(), AnySearchConfig, to_json, from_json)


def to_json(config: AnySearchConfig) -> dict[str, Any]:
    """Plain data for JSON; the method's row is its ``"name"``.

    Of ``"seed"`` and ``"seeds"`` only the one in use is there.
    """
    name = name_of(config.method)
    data = plain(config)
    del data["seeds" if config.seeds is None else "seed"]
    return data | {"method": {"name": name, **data["method"]}}


def from_json(data: Any, source: str = "configuration") -> AnySearchConfig:
    """Reads what `to_json` wrote; fields that are missing have their defaults.

    Args:
      data: the parsed JSON; how the run was extended is left alone.
      source: the file's name, for errors.

    Raises:
      UserError: for an unknown field or method, or a value of the wrong type.
    """
    if not isinstance(data, dict):
        raise UserError(f"{source}: not a configuration; expected a JSON object")
    rest = {name: v for name, v in renewed(data).items() if name != EXTENDED}
    kind = CONFIGS[get_space(str(rest.get("space", SearchConfig.space))).task]
    method = rest.pop("method", {})
    if not isinstance(method, dict):
        raise UserError(f"{source}: method: found {method!r}, expected a JSON object")
    settings = dict(method)
    row = get_method(str(settings.pop("name", "darts")))
    parsed = parse_fields(row.config, settings, f"{source}: method")
    return parse_fields(kind, rest, source, method=parsed)
