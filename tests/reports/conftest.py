"""Reports of runs in several states."""

import pytest
from folders import config, make_comparison, make_run, make_training, recipe

from jdarts.reports import write_report


@pytest.fixture(scope="session")
def reports(tmp_path_factory):
    """Name to the file of a report."""
    root = tmp_path_factory.mktemp("reports")
    make_run(root / "finished")
    make_run(root / "wide", settings=config(space="darts_cnn", epochs=9), epochs=9)
    make_run(root / "partial", epochs=2, finished=False)
    make_run(root / "empty", epochs=0, finished=False, timing=False)
    make_run(root / "seeds", settings=config(seed=None, seeds=(3, 8)))
    make_run(root / "retrained")
    make_training(root / "retrained" / "again")
    make_training(root / "retrained" / "more", epochs=1, finished=False)
    make_comparison(root / "retrained" / "compare")
    make_training(root / "training")
    make_training(root / "trainings", settings=recipe(seed=None, seeds=(3, 8)))
    make_training(root / "begun", epochs=1, finished=False)
    make_comparison(root / "comparison")
    make_comparison(root / "undecided", finished=False)
    return {folder.name: write_report(folder) for folder in root.iterdir()}
