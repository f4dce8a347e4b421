"""Reads the folder of a run; what is damaged is left out and said."""

import dataclasses
from pathlib import Path
from typing import Any

from jdarts.config import AnySearchConfig, SearchConfig, from_json
from jdarts.errors import UserError
from jdarts.io import read_json
from jdarts.io.data_facts import DataFacts
from jdarts.io.records import COUNT, Full, Records, Row, misfit
from jdarts.io.run_config import EXTENDED, Extension
from jdarts.io.run_folder import PART_FILE
from jdarts.loops.stages import STAGES
from jdarts.loops.text_result import read_text_results
from jdarts.loops.train_record import read_results
from jdarts.methods import stages_of
from jdarts.reports import forms
from jdarts.reports.run import ComparisonRun, SearchRun, Seed, TrainRun
from jdarts.spaces import Genotype, SearchSpace, get_space
from jdarts.train_config import Recipe, recipe_from_json, task_of

__all__ = ["read_run", "read_search"]

_SHOWN = 8  # epochs in a line
# What a training is on to what reads its results.
_RESULTS = {"images": read_results, "text": read_text_results}


def read_run(path: Path) -> SearchRun | TrainRun | ComparisonRun:
    """Reads the folder of a run, or of one seed of several.

    Records that are damaged are left out, see `_Run.damage`.

    Args:
      path: the folder; what is not there yet is empty in the result.

    Raises:
      UserError: if it is not the folder of a run, or its configuration is damaged.
    """
    data = _config(path)
    if data.get("kind") == "compare":
        records = Records()
        found = records.json(path / "compare.json", forms.COMPARE)
        return ComparisonRun(path, data, found, records.damage)
    if "genotype" in data:
        return _read_training(path, data)
    run = read_search(path)
    inside = _inside(run)
    return dataclasses.replace(
        run,
        trainings=[other for other in inside if isinstance(other, TrainRun)],
        comparisons=[other for other in inside if isinstance(other, ComparisonRun)],
    )


def _inside(run: SearchRun) -> list[SearchRun | TrainRun | ComparisonRun]:
    """The runs in the folder of a search, and in its seeds' folders."""
    found, records = [], Records(run.damage)
    for folder in dict.fromkeys([run.path, *(seed.path for seed in run.seeds)]):
        for file in sorted(
            [*folder.glob("*/result.json"), *folder.glob("*/compare.json")]
        ):
            if not (file.parent / "config.json").exists():
                records.note(f"{file.parent}: holds no config.json; left out")
        for file in sorted(folder.glob("*/config.json")):
            if (file.parent / PART_FILE).exists():
                continue
            try:
                other = read_run(file.parent)
            except UserError as error:
                records.note(f"{error}; left out")
                continue
            found.append(other)
            for line in other.damage if not isinstance(other, SearchRun) else []:
                records.note(line)
    return found


def _read_training(path: Path, data: dict[str, Any]) -> TrainRun:
    config, records = recipe_from_json(data, str(path / "config.json")), Records()
    genotype = Genotype.from_json(data["genotype"], str(path / "config.json"))
    task = task_of(config)
    results = []
    if (path / "result.json").exists():
        try:
            results = _RESULTS[task](path)
        except UserError as error:
            records.note(f"{error}; left out")
    rows = forms.metrics("train", task)
    seeds = [
        _read_trained(seed, folder, rows, genotype, records)
        for seed, folder in _folders(path, config)
    ]
    ended = [row["epoch"] for seed in seeds for row in seed.epochs]
    ended += [_last_epoch(result) for result in results]
    last = min(max(ended, default=0), config.epochs)
    if last == config.epochs and not results:
        records.note(f"{path}: has no usable result.json; its command writes it")
    for seed in seeds:
        lacking = set(range(1, last + bool(results)))
        lacking -= {row["epoch"] for row in seed.epochs}
        _note_lacking(records, seed.path / "metrics.jsonl", lacking)
    common = _common(path, data, seeds, records)
    return TrainRun(**common, config=config, results=results)


def _last_epoch(result: Any) -> int:
    last = result.last  # of images an object, of a text plain data
    return last["epoch"] if isinstance(last, dict) else last.epoch


def _read_trained(
    seed: int,
    folder: Path,
    rows: dict[str, Any],
    genotype: Genotype,
    records: Records,
) -> Seed:
    metrics = records.rows(folder / "metrics.jsonl", rows)
    log = records.genotypes(folder / "genotype.json")
    if log is not None and log.final != genotype:
        records.note(
            f"{folder / 'genotype.json'}: holds another genotype than config.json, "
            "which is what is trained"
        )
    return Seed(
        seed=seed,
        path=folder,
        steps=[row for row in metrics if row["kind"] == "step"],
        epochs=_whole_or_last(metrics),
        arch=[],
        genotypes={},
        final=genotype if log is not None or metrics else None,
    )


def read_search(path: Path) -> SearchRun:
    """Reads the folder of a search, or of one seed of several; nothing inside it.

    Raises:
      UserError: as `read_run`, or if it is the folder of something else.
    """
    data, records = _config(path), Records()
    config = from_json(data, str(path / "config.json"))
    space = get_space(config.space)
    arch = forms.arch(space, _kinds(config, space))
    seeds = [
        _read_searched(seed, folder, space, arch, records)
        for seed, folder in _folders(path, config)
    ]
    stages = records.json(path / "stages.json", STAGES) or []
    if text := forms.stages_misfit(stages, space):
        records.note(f"{path / 'stages.json'}: damaged ({text}); left out")
        stages = []
    if not stages and stages_of(config.method) and any(s.epochs for s in seeds):
        records.note(f"{path / 'stages.json'}: not there, or damaged")
    common = _common(path, data, seeds, records)
    return SearchRun(
        **common, config=config, trainings=[], comparisons=[], stages=stages
    )


def _kinds(config: AnySearchConfig, space: SearchSpace) -> tuple[str, ...]:
    """The cell types that the networks have: of stages, the last one's."""
    if not isinstance(config, SearchConfig):
        return tuple(space.cells)
    stages = stages_of(config.method)
    return space.kinds(config.layers + (stages.added_layers[-1] if stages else 0))


def _config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    if not file.is_file():
        what = "no such folder" if not path.is_dir() else "holds no config.json"
        raise UserError(f"{path}: {what}; expected the folder of a run")
    data = read_json(file)
    if not isinstance(data, dict):
        raise UserError(f"{file}: not a configuration; expected a JSON object")
    return data


def _facts(path: Path, records: Records) -> DataFacts | None:
    try:
        return DataFacts.read(path)
    except UserError as error:
        records.note(f"{error}; left out")
        return None


def _common(
    path: Path, data: dict[str, Any], seeds: list[Seed], records: Records
) -> dict[str, Any]:
    timing = path / "timing.jsonl"
    if not timing.exists() and (path / PART_FILE).exists():
        timing = path.parent / "timing.jsonl"
    return {
        "path": path,
        "seeds": seeds,
        "timing": records.rows(timing, forms.TIMING),
        "cost": records.json(path / "cost.json", forms.COST),
        "facts": _facts(path, records),
        "damage": records.damage,
        "extensions": _extensions(path / "config.json", data, records),
    }


def _extensions(file: Path, data: dict[str, Any], records: Records) -> list[Extension]:
    rows, count = data.get(EXTENDED, []), len(Extension._fields)
    text = misfit(rows, [Full(COUNT)], EXTENDED)
    if text is None and any(len(row) != count for row in rows):
        text = f"{EXTENDED}: expected {count} numbers a row"
    if text is None:
        return [Extension(*row) for row in rows]
    records.note(f"{file}: damaged ({text}); left out")
    return []


def _folders(path: Path, config: AnySearchConfig | Recipe) -> list[tuple[int, Path]]:
    """Each seed with its folder."""
    if config.seeds is None:
        return [(config.all_seeds[0], path)]
    return [(seed, path / f"seed_{seed}") for seed in config.seeds]


def _read_searched(
    seed: int,
    folder: Path,
    space: SearchSpace,
    forms_of_arch: dict[str, Any],
    records: Records,
) -> Seed:
    files = [folder / f"{name}.jsonl" for name in ("metrics", "arch")]
    metrics = records.rows(files[0], forms.metrics("search", space.task))
    arch = records.rows(files[1], forms_of_arch)
    genotypes, final = _genotypes(folder / "genotype.json", records)
    epochs = _whole_or_last(metrics)
    arch = _whole_or_last(arch)
    # What one of the three tells of, the others have to tell of, too; of the newest
    # epoch only when the run is over, for they are written one after the other.
    known = {row["epoch"] for row in (*epochs, *arch)} | set(genotypes)
    settled = known if final is not None else known - {max(known, default=0)}
    _note_lacking(records, files[0], settled - {row["epoch"] for row in epochs})
    if arch or files[1].exists():  # older runs have none
        _note_lacking(records, files[1], settled - {row["epoch"] for row in arch})
    _note_lacking(records, folder / "genotype.json", settled - set(genotypes))
    return Seed(
        seed=seed,
        path=folder,
        steps=[row for row in metrics if row["kind"] == "step"],
        epochs=epochs,
        arch=arch,
        genotypes=genotypes,
        final=final,
    )


def _genotypes(
    path: Path, records: Records
) -> tuple[dict[int, Genotype], Genotype | None]:
    """Those of the epochs, and the final one."""
    log = records.genotypes(path)
    return ({}, None) if log is None else (log.epochs, log.final)


def _note_lacking(records: Records, path: Path, epochs: set[int]) -> None:
    """Notes that a record has nothing of epochs that others have."""
    if not epochs:
        return
    ordered = sorted(epochs)
    shown = ", ".join(map(str, ordered[:_SHOWN]))
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    what = "lacks" if path.exists() else "not there; lacks"
    word = "epoch" if len(ordered) == 1 else "epochs"
    records.note(f"{path}: {what} {word} {shown}{more}")


def _whole_or_last(rows: list[Row]) -> list[Row]:
    """The rows of epochs; one of a run that ended inside an epoch only as the last
    row: if the run went on, the epoch has its own row."""
    found = [row for row in rows if row["kind"] in ("epoch", "stop")]
    return [row for row in found if row["kind"] == "epoch" or row is found[-1]]
