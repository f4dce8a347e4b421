"""The folder of a run: made or re-opened, owned by one process at a time."""

import contextlib
import dataclasses
import fcntl
import json
import logging
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from jdarts.errors import UserError
from jdarts.io.files import (
    cannot,
    is_temporary,
    read_json,
    write_atomic,
    write_json,
)
from jdarts.io.run_config import (
    EXTENDED,
    Extension,
    free_folder,
    settle_config,
)

__all__ = ["PART_FILE", "RunFolder", "hold"]

_log = logging.getLogger("jdarts")
_LOCK = ".lock"
PART_FILE = "part.txt"
"""Marks the folder of a part of a run: of one seed of several, say."""


@dataclasses.dataclass
class RunFolder:
    """An open run folder; close it, or use it in a ``with``, to let others write.

    Attributes:
      path: the folder.
      resumed: whether the run had begun before.
      extensions: how often its epochs were raised; empty: never.
    """

    path: Path
    resumed: bool
    _lock: int = dataclasses.field(repr=False)
    # What configurations said before: of this folder and of its parts.
    _before: dict[Path, Any] = dataclasses.field(default_factory=dict, repr=False)
    extensions: list[Extension] = dataclasses.field(default_factory=list)

    @classmethod
    def open(
        cls,
        path: Path,
        config: dict[str, Any],
        may_differ: Collection[str] = (),
        extend: bool = False,
        renew: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    ) -> "RunFolder":
        """Creates the folder of a run, or re-opens the run that is in it.

        Args:
          path: the folder; its parents are created too.
          config: the resolved configuration, plain data for JSON, nested by part.
          may_differ: dotted names of fields, or of whole parts, whose values may
            change from one invocation to the next; ``config.json`` then holds the
            latest ones.
          extend: the run is there, and its ``epochs`` may be raised; ``config.json``
            then says so for ever.
          renew: puts what an earlier version wrote as this one does.

        Raises:
          UserError: if the folder cannot be made or written, holds something that is
            no run, is a part of another run, belongs to another configuration, or is
            in use by another process.
        """
        config = json.loads(json.dumps(config))  # tuples become lists, as in the file
        created = _create(path)
        try:
            lock = _acquire(path, created)
        except BaseException:
            _remove_empty(created)
            raise
        try:
            stored = settle_config(path, config, may_differ, extend, renew)
        except BaseException:
            _remove_created(path, created)  # before another process has the lock
            os.close(lock)
            raise
        folder = cls(path, stored is not None, lock)
        folder.extensions = [Extension(*row) for row in config.get(EXTENDED, [])]
        if stored is not None:
            folder._before[folder.config] = stored
        return folder

    def restore_config(self) -> None:
        """Takes back what `open` and `part` wrote to the configurations of a run that
        was there, and what was written to a file of `remember`: it cannot go on like
        that.

        Raises:
          UserError: if it cannot be written.
        """
        for file, stored in self._before.items():
            write_json(file, stored)

    def remember(self, file: Path) -> None:
        """Makes `restore_config` take back what is written to a JSON file from now on;
        one that is damaged, or not there, is left as it then is."""
        with contextlib.suppress(UserError):
            if file.exists():
                self._before[file] = read_json(file)

    def settle_extensions(self, step: int) -> None:
        """Puts right where the run was extended: not after the checkpoint that it goes
        on from, which is an earlier one than was thought if the newest is damaged.

        Args:
          step: of that checkpoint; 0: there is none.

        Raises:
          UserError: if a configuration cannot be written.
        """
        settled = [e._replace(step=min(e.step, step)) for e in self.extensions]
        if settled != self.extensions:
            self.extensions[:] = settled
            for file in self._before:
                write_json(file, read_json(file) | {EXTENDED: settled})

    def part(self, name: str, config: dict[str, Any]) -> "RunFolder":
        """Creates or re-opens a folder in this one, for what follows from this run: one
        seed of several, or a genotype derived again.

        It looks like that of a run of its own, but for the checkpoints: nothing goes on
        from what it holds alone. So it is marked, and `open` refuses it. This folder's
        lock covers it.

        Args:
          name: of the folder.
          config: the configuration of that part alone; it follows from this folder's.

        Raises:
          UserError: if it cannot be written.
        """
        part = RunFolder(path=self.path / name, resumed=self.resumed, _lock=-1)
        try:
            part.path.mkdir(exist_ok=True)
        except OSError as error:
            raise cannot(part.path, "created", error) from None
        write_atomic(part.path / PART_FILE, "A part of the run in the folder above.\n")
        if part.config.exists():
            self._before[part.config] = read_json(part.config)
        rows = {EXTENDED: self.extensions} if self.extensions else {}
        write_json(part.config, config | rows)
        return part

    def extensions_text(self, per_epoch: int) -> str:
        """A line for each extension, for a summary."""
        rows = (e.described(-(-e.step // per_epoch)) for e in self.extensions)
        return "".join(f"\n{row}\n" for row in rows)

    def close(self) -> None:
        """Lets other processes write the folder; closing twice does no harm."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """The metrics, see `MetricsLog`."""
        return self.path / "metrics.jsonl"

    @property
    def arch(self) -> Path:
        """The architecture parameters, one row an epoch; a `MetricsLog`."""
        return self.path / "arch.jsonl"

    @property
    def timing(self) -> Path:
        """Where the time went, see `jdarts.io.Timing`; a `MetricsLog`."""
        return self.path / "timing.jsonl"

    @property
    def genotype(self) -> Path:
        """The genotypes, see `GenotypeLog`."""
        return self.path / "genotype.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of `Checkpoints`."""
        return self.path / "checkpoints"

    @property
    def stages(self) -> Path:
        """The stages of a search in stages, see `jdarts.loops.stages`."""
        return self.path / "stages.json"

    @property
    def summary(self) -> Path:
        """The result in words."""
        return self.path / "summary.txt"

    @property
    def result(self) -> Path:
        """The result of a training, see `jdarts.loops.train_record`."""
        return self.path / "result.json"

    @property
    def report(self) -> Path:
        """Everything about the run on one page."""
        return self.path / "report.html"

    def remove_results(self) -> None:
        """Removes summary, report and drawings of a shorter run that now goes on."""
        for file in (
            self.summary,
            self.result,
            self.report,
            *self.path.glob("cell_*.*"),
        ):
            file.unlink(missing_ok=True)

    def drawing(self, kind: str) -> Path:
        """The drawing of the derived cell of that type."""
        return self.path / f"cell_{kind}.svg"


@contextlib.contextmanager
def hold(path: Path) -> Iterator[None]:
    """Keeps others from writing the folder of a run meanwhile.

    Raises:
      UserError: if there is no such folder, or another process writes it.
    """
    if not path.is_dir():
        raise UserError(f"{path}: no such folder; expected the folder of a run")
    lock = _acquire(path)
    try:
        yield
    finally:
        os.close(lock)


def _create(path: Path) -> list[Path]:
    """Makes the folder; returns the folders that this call made, outermost last."""
    try:
        if path.exists() and not path.is_dir():
            raise UserError(f"{path}: is a file; expected a folder for the run")
        if path.is_dir():
            _refuse_foreign(path)
            return []
        return _make(path)
    except OSError as error:
        raise cannot(path, "created", error) from None


def _make(path: Path) -> list[Path]:
    """As `_create`; of folders that another process makes meanwhile none is returned,
    for whoever has made one may remove it."""
    made = []
    for folder in reversed((path, *path.parents)):
        with contextlib.suppress(FileExistsError):
            if not folder.is_dir():
                folder.mkdir()
                made.insert(0, folder)
    return made


def _refuse_foreign(path: Path) -> None:
    if (path / PART_FILE).exists():
        raise UserError(
            f"{path}: a part of another run, which can only go on as a whole; "
            f"expected the folder of that run, {path.resolve().parent}"
        )
    names = sorted(entry.name for entry in path.iterdir())
    foreign = [name for name in names if name != _LOCK and not is_temporary(name)]
    if foreign and "config.json" not in foreign:
        raise UserError(
            f"{path}: holds other files ({foreign[0]}, ...) but no config.json; "
            "expected the folder of a run, or a new or empty one, as --run-dir "
            f"{free_folder(path)}"
        )


def _remove_created(path: Path, created: list[Path]) -> None:
    """Takes back the folders of a run that could not begin; its lock is held."""
    with contextlib.suppress(OSError):
        if created:
            (path / _LOCK).unlink(missing_ok=True)
    _remove_empty(created)


def _remove_empty(folders: list[Path]) -> None:
    """Removes the folders, the inner ones first, as far as they are empty."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _acquire(path: Path, created: list[Path] | None = None) -> int:
    """Locks the folder; the system lets go of the lock when the process ends.

    Args:
      path: the folder.
      created: of a run that may be new, the folders that this process has made: if
        another one, whose run could not begin, has removed them, they are made again.
    """
    while True:
        try:
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError as error:
            if created is None:
                raise cannot(path, "written", error) from None
            created[:] = _create(path) or created
            continue
        except OSError as error:
            raise cannot(path, "written", error) from None
        if _locked(path, lock):
            return lock
        os.close(lock)


def _locked(path: Path, lock: int) -> bool:
    """Locks the open file; False if it is not the folder's any more: its owner has
    removed it before the lock was had.

    Raises:
      UserError: if another process has it.
    """
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(lock, 20).decode(errors="replace") or "unknown"
        os.close(lock)
        raise UserError(
            f"{path}: in use by another run (process {owner}); "
            "wait for it to end, or choose another folder"
        ) from None
    except OSError as error:  # some network file systems have no locks
        _log.warning("%s: cannot be locked (%s)", path, error.strerror)
    try:
        there = os.stat(path / _LOCK)
    except FileNotFoundError:
        return False
    if not os.path.samestat(there, os.fstat(lock)):
        return False
    with contextlib.suppress(OSError):  # only for the other process's message
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
    return True
