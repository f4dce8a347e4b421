"""Reports: everything about a run on one page that needs nothing else."""

import logging
from pathlib import Path

from jdarts.errors import UserError
from jdarts.io import write_atomic
from jdarts.io.run_folder import PART_FILE
from jdarts.phase import phased
from jdarts.reports.comparison import comparison_report
from jdarts.reports.drawings import DRAWINGS, write_drawings
from jdarts.reports.read import read_run
from jdarts.reports.run import ComparisonRun, TrainRun
from jdarts.reports.search import search_report
from jdarts.reports.tensorboard import write_tensorboard
from jdarts.reports.text_train import text_train_report
from jdarts.reports.train import train_report
from jdarts.train_config import task_of

__all__ = [
    "DRAWINGS",
    "renew_report",
    "write_drawings",
    "write_report",
    "write_tensorboard",
]

_log = logging.getLogger("jdarts")
_TRAININGS = {"images": train_report, "text": text_train_report}


@phased("writing the report")
def write_report(path: Path) -> Path:
    """Writes ``report.html`` into the folder of a run.

    The same folder gives the same bytes. A run that is going on is not disturbed.

    Args:
      path: the run's folder; the run may be finished, broken off or not begun.

    Returns:
      The file.

    Raises:
      UserError: if it is not the folder of a run, a file in it is damaged, or the
        report cannot be written.
    """
    file, run = path / "report.html", read_run(path)
    if isinstance(run, ComparisonRun):
        text = comparison_report(run)
    elif isinstance(run, TrainRun):
        text = _TRAININGS[task_of(run.config)](run)
    else:
        text = search_report(run)
    write_atomic(file, text)
    return file


def renew_report(path: Path) -> None:
    """Writes the report of a search again, where there is one: something new lies in
    its folder. One that cannot be written is said, and no more: what is new stays.

    Args:
      path: the folder of a search, of one seed of several, or any other.
    """
    places = [path, path.parent] if (path / PART_FILE).exists() else [path]
    for place in places:
        if (place / "report.html").is_file() and (place / "config.json").is_file():
            try:
                write_report(place)
            except UserError as error:
                _log.warning("the report of the search is not renewed: %s", error)
