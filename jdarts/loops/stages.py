"""The stages of a search: which one it is in, and what is left for the next one.

Knows no method by name.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jax.typing import ArrayLike

from jdarts.config import AnySearchConfig, SearchConfig
from jdarts.derive import with_max_skips
from jdarts.errors import UserError
from jdarts.io import read_json, write_json
from jdarts.io.records import COUNT, TEXT, Each, Full, misfit
from jdarts.methods import get_method, name_of, stages_of
from jdarts.spaces import CellSpec, SearchSpace, get_space

__all__ = ["STAGES", "Stage", "first_stage", "next_stage", "read_stage", "write_stage"]


STAGES = [{"epochs": Full(COUNT), "added_layers": COUNT, "primitives": Each([[TEXT]])}]
"""The form of what `write_stage` writes, see `jdarts.io.records`."""


class Stage(NamedTuple):
    """A part of a search with its own network; mostly the whole search.

    Attributes:
      number: from 0.
      count: of stages.
      space: what it searches.
      epochs: its length, the same for all.
      added_layers: cells that its network has more than the configuration says.
      last_added: the same of the last stage, which makes the result.
    """

    number: int
    count: int
    space: SearchSpace
    epochs: int
    added_layers: int = 0
    last_added: int = 0

    def steps(self, per_epoch: int) -> tuple[int, int]:
        """Steps of the whole search that are done at its start, and at its end."""
        length = self.epochs * per_epoch
        return self.number * length, (self.number + 1) * length

    def described(self, layers: int) -> str:
        """In words; `layers` is the configuration's."""
        first = self.number * self.epochs + 1
        counts = {sum(row) for s in self.space.cells.values() for row in s.offered}
        primitives = "-".join(map(str, sorted({min(counts), max(counts)})))
        return (
            f"stage {self.number + 1} of {self.count}: epochs {first} to "
            f"{first + self.epochs - 1}, {layers + self.added_layers} cells, "
            f"{primitives} primitives an edge"
        )


def first_stage(config: AnySearchConfig) -> Stage:
    """Where a search begins.

    Raises:
      UserError: for settings that do not go with stages.
    """
    space = get_space(config.space)
    plan = stages_of(config.method)
    if isinstance(config, SearchConfig) and config.max_skips is not None:
        every_edge = get_method(name_of(config.method)).every_edge
        space = with_max_skips(space, config.max_skips, every_edge=every_edge)
    if plan is None:
        return Stage(0, 1, space, config.epochs)
    count, name = len(plan.added_layers), name_of(config.method)
    if not isinstance(config, SearchConfig):
        raise UserError(
            f"--method {name}: searches with deeper and deeper networks of cells, a "
            f"recurrent network has one; expected another method, as darts"
        )
    plan.check(space)
    if config.seeds is not None:
        raise UserError(
            f"--seeds: with --method {name} each seed drops primitives of its own, so "
            "that no program fits several; expected --seed N, one search a seed"
        )
    if config.epochs % count:
        raise UserError(
            f"--epochs: {config.epochs}; expected a number that the {count} stages of "
            f"--method {name} divide, as {max(1, round(config.epochs / count)) * count}"
        )
    if config.curvature.stop is not None and count > 1:
        raise UserError(
            f"--curvature.stop: {config.curvature.stop}; a search with --method {name} "
            "has another network in each stage and cannot end before the last; "
            "expected none"
        )
    epochs, added = config.epochs // count, plan.added_layers
    config.drop_path.check("--drop-path", epochs)
    return Stage(0, count, space, epochs, added[0], added[-1])


def next_stage(
    config: AnySearchConfig, stage: Stage, mix: Mapping[str, ArrayLike]
) -> Stage | None:
    """What follows, by the mixing weights at the end of a stage; None after the last.

    Args:
      config: of the search.
      stage: the one that has ended.
      mix: cell type to mixing weights, ``[edges, primitives]``.
    """
    plan = stages_of(config.method)
    if plan is None or stage.number + 1 == stage.count:
        return None
    assert isinstance(config, SearchConfig)  # the only one with stages
    space = plan.narrow(stage.space, mix, stage.number)
    # What the stage's network did not have has learnt nothing: it loses nothing.
    had = space.kinds(config.layers + stage.added_layers)
    cells = {
        kind: spec if kind in had else _all_rows(stage.space.cells[kind])
        for kind, spec in space.cells.items()
    }
    return _follow(config, stage, dataclasses.replace(space, cells=cells))


def _all_rows(spec: CellSpec) -> CellSpec:
    """The same, each edge with its own primitives."""
    rows = spec.edge_primitives or (spec.primitives,) * len(spec.edges)
    return dataclasses.replace(spec, edge_primitives=rows)


def _follow(config: AnySearchConfig, stage: Stage, space: SearchSpace) -> Stage:
    plan, number = stages_of(config.method), stage.number + 1
    assert plan is not None
    added = plan.added_layers[number]
    return stage._replace(number=number, space=space, added_layers=added)


def write_stage(path: Path, stage: Stage) -> None:
    """Writes down that a stage begins: the primitives of each edge, by cell type.

    The file is a list of the stages so far.

    Raises:
      UserError: if the file is not usable, or cannot be written.
    """
    before = _read(path)[: stage.number] if stage.number else []
    first = stage.number * stage.epochs + 1
    cells = {}
    for kind, spec in stage.space.cells.items():
        cells[kind] = [list(row) for row in _all_rows(spec).edge_primitives or ()]
    row = {
        "epochs": [first, first + stage.epochs - 1],
        "added_layers": stage.added_layers,
        "primitives": cells,
    }
    write_json(path, [*before, row])


def read_stage(config: AnySearchConfig, path: Path, first: Stage) -> Stage:
    """The stage that a search is in.

    Args:
      config: of the search.
      path: what `write_stage` wrote, if it did.
      first: the first stage, which it is in otherwise.

    Raises:
      UserError: if the file is not usable.
    """
    rows, stage = _read(path) if path.exists() else [], first
    for row in rows[1 : first.count]:
        stage = _follow(config, stage, _narrowed(path, first.space, row))
    return stage


def _read(path: Path) -> list[dict[str, Any]]:
    rows = read_json(path)
    if text := misfit(rows, STAGES):
        raise UserError(f"{path}: not a record of stages ({text.lstrip(': ')})")
    return rows


def _narrowed(path: Path, space: SearchSpace, row: dict[str, Any]) -> SearchSpace:
    """The space with the primitives of that row."""
    cells, found = {}, row.get("primitives")
    for kind, spec in space.cells.items():
        edges = found.get(kind) if isinstance(found, dict) else None
        if not isinstance(edges, list) or len(edges) != len(spec.edges):
            raise UserError(
                f"{path}: no primitives of the {len(spec.edges)} edges of the {kind} "
                "cell; expected what the search wrote"
            )
        for edge in edges:
            if not isinstance(edge, list) or not edge or set(edge) - {*spec.primitives}:
                raise UserError(
                    f"{path}: {edge!r} in the {kind} cell; expected some of "
                    f"{', '.join(spec.primitives)}"
                )
        own = tuple(tuple(edge) for edge in edges)
        cells[kind] = dataclasses.replace(spec, edge_primitives=own)
    return dataclasses.replace(space, cells=cells)
