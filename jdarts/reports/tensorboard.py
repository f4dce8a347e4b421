"""The metrics of a run as TensorBoard event files, without TensorFlow."""

import shutil
from pathlib import Path

from jdarts.errors import UserError
from jdarts.reports.read import read_search

__all__ = ["write_tensorboard"]

_FOLDER = "tensorboard"


def write_tensorboard(path: Path) -> list[Path]:
    """Writes every number of every row of ``metrics.jsonl`` as a scalar at its step.

    What an earlier call has written is replaced.

    Args:
      path: the run's folder; of several seeds each has its own folder in it.

    Returns:
      The folders with the event files.

    Raises:
      UserError: if there are no metrics yet, or the package is missing.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise UserError(
            "--tensorboard: needs the package tensorboardX; expected an installation "
            "with the extra tensorboard (pip install 'jdarts[tensorboard]')"
        ) from None
    seeds = read_search(path).seeds
    for seed in seeds:
        if not seed.steps and not seed.epochs:
            raise UserError(
                f"{seed.path}: no metrics yet; expected a run that has begun for "
                "--tensorboard"
            )
    folders = []
    for seed in seeds:
        folder = seed.path / _FOLDER
        shutil.rmtree(folder, ignore_errors=True)
        with SummaryWriter(str(folder)) as writer:
            for row in sorted(seed.steps + seed.epochs, key=lambda row: row["step"]):
                for name, value in row.items():
                    if name != "step" and isinstance(value, int | float):
                        writer.add_scalar(name, value, row["step"])
        folders.append(folder)
    return folders
