"""``python -m jdarts.perturb``: another genotype from a finished search, by what its
supernet misses most."""

import sys

from jdarts.entry import start

if __name__ == "__main__":  # before the imports that take seconds
    sys.exit(start("perturb", sys.argv[1:]))

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from jdarts.cli import parse_options
from jdarts.compile import enable_cache
from jdarts.config import SearchConfig, from_json, to_json
from jdarts.config_fields import renewed
from jdarts.curvature import CurvatureConfig
from jdarts.errors import UserError
from jdarts.hardware import HardwareConfig
from jdarts.io import (
    GenotypeLog,
    RunFolder,
    cell_svg,
    cell_text,
    load_genotype,
    read_json,
    read_metrics,
    write_atomic,
    write_json,
)
from jdarts.loops.perturb import PerturbConfig, perturb
from jdarts.loops.setup import setup
from jdarts.methods import stages_of
from jdarts.perturbation import Perturbation

__all__ = ["PerturbOptions", "main", "supernet_only"]

NAME = "perturbation"


@dataclasses.dataclass(frozen=True)
class PerturbOptions(PerturbConfig):
    """Which search, and how."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The folder of a finished search on images."""

    def settings(self) -> PerturbConfig:
        """All but the search."""
        fields = dataclasses.fields(PerturbConfig)
        return PerturbConfig(**{f.name: getattr(self, f.name) for f in fields})


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit status."""
    options = parse_options(
        PerturbOptions,
        arguments,
        prog="python -m jdarts.perturb",
        description="Derives a genotype by perturbation (DARTS-PT): of each edge the "
        "op, then of each node the edges, without which the supernet of a finished "
        "search does worst on the validation half. Written to RUN/perturbation, which "
        "train, compare, cost and report take as a search. The same command goes on "
        "after the last whole round.",
    )
    config = _search(options.run)
    enable_cache()
    start = setup(supernet_only(config))
    print(start.described, flush=True)
    with RunFolder.open(options.run, to_json(config), renew=renewed) as folder:
        results = perturb(
            config,
            options.settings(),
            start,
            folder.checkpoints,
            folder.path / NAME / "checkpoints",
            lambda line: print(line, flush=True),
        )
        for seed, found in zip(config.all_seeds, results, strict=True):
            own = folder
            if config.seeds is not None:
                own = folder.part(f"seed_{seed}", to_json(config.with_seed(seed)))
            _write(own, config.with_seed(seed), options, found)
    return 0


def _search(path: Path) -> SearchConfig:
    """The configuration of a finished search on images.

    Raises:
      UserError: if it is no such thing.
    """
    file = path / "config.json"
    if not file.is_file():
        raise UserError(
            f"{path}: holds no config.json; expected the folder of a search"
        )
    data = read_json(file)
    if isinstance(data, dict) and ("genotype" in data or "kind" in data):
        raise UserError(f"{path}: not a search; expected the folder of a search")
    config = from_json(data, str(file))
    if not isinstance(config, SearchConfig):
        raise UserError(
            f"{path}: a search for recurrent cells; expected a search on images"
        )
    if config.max_skips is not None:
        raise UserError(
            f"{path}: searched with --max-skips {config.max_skips}, which perturbation "
            "cannot keep: an edge whose op it has chosen has no runner-up; expected a "
            "search without a cap"
        )
    if stages_of(config.method) is not None:
        raise UserError(
            f"{path}: a search in stages, whose last network has few primitives left; "
            "expected a search by another method, as darts"
        )
    seeds = config.seeds or ()
    for folder in [path / f"seed_{seed}" for seed in seeds] or [path]:
        load_genotype(folder)  # raises where the search is not finished
        file = folder / "metrics.jsonl"
        rows = read_metrics(file) if file.exists() else []
        if any("result_epoch" in row for row in rows):
            raise UserError(
                f"{folder}: stopped early, and the supernet of its result's epoch is "
                "not kept; expected a search that went on to its end"
            )
    return config


def supernet_only(config: SearchConfig) -> SearchConfig:
    """Without what only a search needs: costs, and their table, and its curvature."""
    return dataclasses.replace(
        config, hardware=HardwareConfig(), curvature=CurvatureConfig()
    )


def _write(
    folder: RunFolder, config: SearchConfig, options: PerturbConfig, found: Perturbation
) -> None:
    """Writes one seed's results, and prints them."""
    part = folder.part(NAME, to_json(config))
    genotype = found.genotype()
    GenotypeLog(part.genotype).finish(genotype)
    settings = dataclasses.asdict(options) | {"run": str(folder.path)}
    write_json(
        part.path / f"{NAME}.json",
        {"settings": settings, "decisions": found.decisions},
    )
    lines = [f"perturbation of search '{config.name}', seed {config.seed}"]
    for kind, cell in genotype.cells.items():
        lines += ["", f"{kind} cell", cell_text(cell)]
        title = f"{config.name}: {kind} cell by perturbation"
        write_atomic(part.drawing(kind), cell_svg(cell, title))
    text = "\n".join(lines) + "\n"
    write_atomic(part.summary, text)
    print(f"\n{text}\nwritten to {part.path}", flush=True)
