"""``python -m jdarts.compare``: whether searches beat chance."""

import sys

from jdarts.entry import start

if __name__ == "__main__":  # before the imports that take seconds
    sys.exit(start("compare", sys.argv[1:]))

from typing import TYPE_CHECKING, Any

from jdarts.comparisons.arguments import CompareCommand, parse_compare
from jdarts.comparisons.outcome import outcome
from jdarts.comparisons.plan import Plan, make_plan
from jdarts.comparisons.trainings import MAY_DIFFER, train_all
from jdarts.compile import enable_cache
from jdarts.config_fields import renewed
from jdarts.errors import UserError
from jdarts.io import RunFolder, write_atomic, write_json
from jdarts.lazy import LazyModule
from jdarts.loops.train import train_setup
from jdarts.nets.cost import NetworkShape
from jdarts.train_config import recipe_to_json

if TYPE_CHECKING:
    from jdarts import reports
else:
    reports = LazyModule("jdarts.reports")

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit status."""
    command = parse_compare(arguments)
    command, plan, read = _plan(command)
    enable_cache()
    described = _described(command, plan)
    may_differ = tuple(f"train.{name}" for name in MAY_DIFFER)
    with RunFolder.open(
        command.run_dir, described, may_differ, renew=_renewed
    ) as folder:
        print(read, flush=True)
        trainings = folder.path / "trainings"
        accuracies, stopped = train_all(plan, command.config, trainings)
        if stopped:
            print(
                f"stopped by a signal, {len(accuracies)} of {len(plan.networks)} "
                "networks trained, everything saved; the same command goes on from "
                f"there ({folder.path})"
            )
            return stopped
        found = outcome(command.searches, plan, accuracies, command.options.random_seed)
        text = f"{_heading(command)}\n\n{found.text()}"
        write_json(folder.path / "compare.json", {**described, **found.to_json()})
        write_atomic(folder.summary, text)
        reports.write_report(folder.path)
        print(f"\n{text}\nwritten to {folder.path}", flush=True)
    return 0


def _renewed(stored: dict[str, Any]) -> dict[str, Any]:
    train = stored.get("train")
    return stored | {"train": renewed(train)} if isinstance(train, dict) else stored


def _plan(command: CompareCommand) -> tuple[CompareCommand, Plan, str]:
    """The command with what follows from the data decided, the networks, and what was
    read in words; nothing is written yet, so that what is wrong leaves no folder."""
    start, options = (
        train_setup(command.config, command.searches[0].genotype),
        command.options,
    )
    config, images = start.config, start.images
    if config.evaluate_on != "test":
        raise UserError(
            f"--evaluate-on: {config.evaluate_on}: the searches have learnt from these "
            "images, random genotypes have not; expected --evaluate-on test, and data "
            f"with test images (here {len(images.test_images)})"
        )
    shape = NetworkShape(
        channels=config.channels,
        layers=config.layers,
        classes=images.num_classes,
        image=images.image_shape,
        stem=config.stem,
    )
    plan = make_plan(
        command.searches,
        shape,
        random=options.random,
        measure=options.match,
        tolerance=options.tolerance,
        progress=options.progress,
        seed=options.random_seed,
    )
    return command._replace(config=config), plan, start.described


def _heading(command: CompareCommand) -> str:
    config, options = command.config, command.options
    return (
        f"{len(command.searches)} searches and {options.random} random genotypes; each "
        f"network trained {options.retrainings} times: {config.epochs} epochs, C = "
        f"{config.channels}, L = {config.layers}\n"
        f"accuracy on {config.data.name}, test images, after the last epoch; random "
        "genotypes are derived as the search's, from random numbers, and have its "
        f"{options.match.replace('_', '-')} within {100 * options.tolerance:g} %\n"
        f"s of means: deviation of networks' means of {options.retrainings} trainings; "
        "of networks: without the trainings' noise (0: that may be all of the first); "
        "of trainings: between those of one network"
    )


def _described(command: CompareCommand, plan: Plan) -> dict[str, Any]:
    """What the comparison depends on, as plain data."""
    options = command.options
    return {
        "kind": "compare",
        "found": [entry.genotype.to_json() for entry in plan.found],
        "random": options.random,
        "match": options.match,
        "tolerance": options.tolerance,
        "random_seed": options.random_seed,
        "progress": sorted(set(options.progress)),
        "train": recipe_to_json(command.config),
    }
