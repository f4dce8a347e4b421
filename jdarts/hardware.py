"""Hardware-aware search: the expected cost of a network as a part of the loss.

With weight lambda, expected cost E of the mixing weights that the method expects (see
`jdarts.nets.expected_cost`), and E_0 that of its start, where all primitives into a
node have the same weight, a method that learns the architecture minimises

    validation loss + lambda * E / E_0                         (penalty)
    validation loss + lambda * max(0, E / target - 1)          (constraint, with target)

Both are free of units, so that one lambda serves all costs. E is not the derived
network's cost, and the target is one of E: by how much it differs depends on how many
edges into a node the method's weights count as (all of them under a softmax, one where
edges share one weight), and how many the derived cell keeps.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdarts.errors import UserError, unknown_choice
from jdarts.io import read_json
from jdarts.io.files import file_digest
from jdarts.nets.cost import NetworkShape
from jdarts.nets.expected_cost import CostModel, Place, cost_model, counted, skeleton
from jdarts.spaces import Genotype, SearchSpace

__all__ = [
    "COSTS",
    "Hardware",
    "HardwareConfig",
    "hardware_of",
    "latency_model",
    "model_of",
    "pinned_files",
    "read_latencies",
]

COSTS = {
    "parameters": "parameters",
    "multiply_adds": "multiply-adds",
    "latency": "milliseconds",
}
"""What can be counted or looked up, and its unit."""


@dataclasses.dataclass(frozen=True)
class HardwareConfig:
    """The cost of the networks that a search is among."""

    cost: str | None = None
    """What is reckoned after every epoch, of the derived network and in expectation:
    parameters, multiply_adds (both counted), or latency (milliseconds, by a table).
    Not given: nothing."""
    weight: float = 0.0
    """lambda: times the expected cost relative to that of the method's start, it is
    added to the validation loss; >= 0, with any method that learns the architecture."""
    target: float | None = None
    """Penalise only what exceeds this expected cost (not the derived network's), in the
    cost's unit, > 0: lambda times max(0, E / target - 1)."""
    latency_table: Path | None = None
    """What ``python -m jdarts.latency`` has measured."""
    channels: int | None = None
    """Width of the network whose cost it is, >= 1; not given: that of the search."""
    layers: int | None = None
    """Its number of cells, >= 1; not given: that of the search."""

    def check(self, learns: bool, method: str) -> None:
        """Raises a UserError for a value out of range, or one without effect.

        Args:
          learns: whether the method learns the architecture by its gradient.
          method: its name.
        """
        if self.cost is None:
            self._check_unused()
            return
        if self.cost not in COSTS:
            raise unknown_choice("--hardware.cost", self.cost, COSTS)
        if not (self.weight >= 0 and math.isfinite(self.weight)):
            raise UserError(f"--hardware.weight: {self.weight}; expected at least 0")
        if self.weight and not learns:
            raise UserError(
                f"--hardware.weight: has no effect with --method {method}, which "
                "learns no architecture by gradients; expected 0, or another method"
            )
        self._check_target()
        if (self.cost == "latency") != (self.latency_table is not None):
            raise UserError(
                "--hardware.latency-table: --hardware.cost latency and a table go "
                f"together; found cost {self.cost} "
                f"{'without' if self.latency_table is None else 'with'} a table"
            )
        for name in ("channels", "layers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"--hardware.{name}: {value}; expected at least 1")

    def _check_target(self) -> None:
        if self.target is None:
            return
        if not (self.target > 0 and math.isfinite(self.target)):
            raise UserError(f"--hardware.target: {self.target}; expected more than 0")
        if not self.weight:
            raise UserError(
                "--hardware.target: has no effect without --hardware.weight; expected "
                "a weight of more than 0"
            )

    def _check_unused(self) -> None:
        """Without a cost all other fields have no effect."""
        for field in dataclasses.fields(self):
            if getattr(self, field.name) != field.default:
                flag = field.name.replace("_", "-")
                raise UserError(
                    f"--hardware.{flag}: has no effect without --hardware.cost; "
                    f"expected one of {', '.join(COSTS)}"
                )


def pinned_files(config: HardwareConfig) -> dict[str, str]:
    """Option to SHA-256 of the file that it names: what may not change under a run that
    goes on.

    Raises:
      UserError: if it cannot be read.
    """
    if config.latency_table is None:
        return {}
    return {"--hardware.latency-table": file_digest(config.latency_table)}


class Hardware(NamedTuple):
    """The cost of a search's networks.

    Attributes:
      config: as configured.
      model: the table of costs, in the unit of COSTS.
    """

    config: HardwareConfig
    model: CostModel

    def price(self, mix: dict[str, jax.Array], start: dict[str, Any]) -> jax.Array:
        """What is added to the validation loss at these mixing weights.

        Args:
          mix: the mixing weights.
          start: those of the method's start.
        """
        target, weight = self.config.target, self.config.weight
        unit = self.model.uniform(start) if target is None else target
        # In float64 up to here: a network can have billions of multiply-adds.
        relative = self.model.scaled(1 / unit).expected(mix)
        if target is not None:
            relative = jnp.maximum(0.0, relative - 1)
        return jnp.asarray(weight * relative)

    def row(self, genotype: Genotype, mix: dict[str, Any]) -> dict[str, float]:
        """What an epoch's row of metrics gets: the derived network's cost, and the
        expected one."""
        arrays = {kind: np.asarray(own, np.float64) for kind, own in mix.items()}
        row = {
            "expected_cost": float(self.model.expected(arrays)),
            "derived_cost": self.model.of(genotype),
        }
        if self.config.target is not None:
            row["target_cost"] = self.config.target
        return row

    def sentence(self, row: dict[str, float]) -> str:
        """The cost at the end in words, from a row of metrics."""
        unit = COSTS[self.config.cost or ""]
        text = (
            f"{unit} of the derived network: {_figure(row['derived_cost'])} (expected "
            f"of the relaxed one: {_figure(row['expected_cost'])}"
        )
        if self.config.target is not None:
            text += f", target {_figure(self.config.target)}"
        return text + ")"


def hardware_of(
    config: HardwareConfig, space: SearchSpace, shape: NetworkShape
) -> Hardware | None:
    """The costs of a search; None if none are wanted.

    Args:
      config: checked already.
      space: the search space.
      shape: of the search's network; the configuration may say another size.

    Raises:
      UserError: for a table that cannot be read, or is of other networks.
    """
    if config.cost is None:
        return None
    shape = dataclasses.replace(
        shape,
        channels=config.channels or shape.channels,
        layers=config.layers or shape.layers,
    )
    where = "--hardware.latency-table"
    model = model_of(config.cost, space, shape, config.latency_table, where)
    return Hardware(config, model)


def model_of(
    cost: str, space: SearchSpace, shape: NetworkShape, table: Path | None, where: str
) -> CostModel:
    """The costs of a space's networks.

    Args:
      cost: a name of COSTS.
      space: a space of images.
      shape: of the networks.
      table: of latencies, if they are the cost.
      where: the option that says the table, for errors.
    """
    if table is None:
        return counted(space, shape, cost)
    return latency_model(
        read_latencies(table, where), space, shape, f"{where}: {table}"
    )


# --- latencies ------------------------------------------------------------------------


def read_latencies(path: Path, where: str) -> dict[str, Any]:
    """The table of a file, its form checked.

    Raises:
      UserError: if it is no such table.
    """
    data = read_json(path)
    numbers = isinstance(data, dict) and [
        data.get("fixed_milliseconds"),
        *(e.get("milliseconds") for e in _entries(data)),
    ]
    kinds = {"network": dict, "space": str, "device": str, "entries": list}
    whole = numbers and all(isinstance(data.get(k), t) for k, t in kinds.items())
    valid = whole and all(isinstance(x, float | int) and x >= 0 for x in numbers)
    if not valid:
        raise UserError(
            f"{where}: {path}: no table of latencies; expected a file that python -m "
            "jdarts.latency --out FILE has written"
        )
    return data


def _entries(data: dict[str, Any]) -> list[dict[str, Any]]:
    entries = data.get("entries")
    found = entries if isinstance(entries, list) else []
    return [entry if isinstance(entry, dict) else {} for entry in found]


def latency_model(
    table: dict[str, Any], space: SearchSpace, shape: NetworkShape, where: str
) -> CostModel:
    """The latencies of a space's networks, in milliseconds.

    The sum of what its parts take alone.

    Args:
      table: what `read_latencies` returned.
      space: a space of images.
      shape: of the networks.
      where: the option and the file, for errors.

    Raises:
      UserError: if the table is of other networks, or lacks a primitive at a place.
    """
    wanted = {"space": space.name} | dataclasses.asdict(shape)
    found = {"space": table["space"]} | table["network"]
    for name, value in wanted.items():
        value = list(value) if isinstance(value, tuple) else value
        if found.get(name) != value:
            raise UserError(
                f"{where}: measured with {name} {found.get(name)}, but the network has "
                f"{name} {value}; expected a table of that network (python -m "
                "jdarts.latency)"
            )
    times = {
        tuple(entry.get(field) for field in Place._fields): entry["milliseconds"]
        for entry in table["entries"]
    }

    def look_up(place: Place) -> float:
        if tuple(place) not in times:
            raise UserError(
                f"{where}: lacks {place.primitive} of stride {place.stride} on "
                f"{place.height} x {place.width} x {place.channels}; expected a table "
                f"of all primitives of {space.name} (python -m jdarts.latency)"
            )
        return times[tuple(place)]

    return cost_model(skeleton(space, shape), look_up, table["fixed_milliseconds"])


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
