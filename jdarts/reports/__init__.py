"""Reports: everything about a run on one page that needs nothing else."""

from pathlib import Path

from jdarts.io import write_atomic
from jdarts.phase import phased
from jdarts.reports.comparison import comparison_report
from jdarts.reports.drawings import DRAWINGS, write_drawings
from jdarts.reports.run import ComparisonRun, TrainRun, read_run
from jdarts.reports.search import search_report
from jdarts.reports.tensorboard import write_tensorboard
from jdarts.reports.text_train import text_train_report
from jdarts.reports.train import train_report
from jdarts.train_config import task_of

__all__ = ["DRAWINGS", "write_drawings", "write_report", "write_tensorboard"]


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
