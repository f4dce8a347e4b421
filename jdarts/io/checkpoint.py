"""Checkpoints that survive a kill, a full disk and a damaged file."""

import contextlib
import errno
import functools
import gc
import json
import logging
import os
import re
import shutil
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jdarts.errors import UserError
from jdarts.io.leaves import Leaf, describe, difference, pack, pack_target, unpack
from jdarts.lazy import LazyModule
from jdarts.phase import phased

if TYPE_CHECKING:
    import orbax.checkpoint as ocp
else:
    ocp = LazyModule("orbax.checkpoint")

__all__ = ["Checkpoints", "Restored"]

_log = logging.getLogger("jdarts")
# How TensorStore, below Orbax, reports the file system: a ValueError that begins with
# its status code and carries the system's number.
_STATUS = re.compile(r"^[A-Z]+(_[A-Z]+)*: ")
_SYSTEM_ERROR = re.compile(r"os_error_code='(\d+)'")
# What the system says of a damaged file; anything else (no memory, no permission, too
# many open files) is the machine's fault and may be gone the next time.
_DAMAGE = {errno.ENOENT, errno.EIO, errno.EISDIR, errno.ENOTDIR, errno.EINVAL}


class Restored(NamedTuple):
    """What was read back.

    Attributes:
      step: the step that it was saved at.
      state: a tree of the target's type, with the target's shardings.
      meta: the plain data that was saved with it.
    """

    step: int
    state: Any
    meta: dict[str, Any]


class Checkpoints:
    """The newest few checkpoints of a run, in one folder.

    Orbax writes them; what it does not do is done here: a checksum of every leaf
    (Orbax returns wrong numbers for a flipped byte), a fall-back to the previous
    checkpoint, errors in one line. One process at a time may write a folder; see
    `RunFolder`.
    """

    def __init__(self, directory: Path, keep: int = 3) -> None:
        """Opens the folder, creating it, and removes what a killed run left there.

        Args:
          directory: the folder of the checkpoints.
          keep: how many checkpoints to keep, >= 1.

        Raises:
          UserError: if the folder cannot be made or written.
        """
        self._shown = directory
        self._directory = directory.absolute()
        self._keep = keep
        self._opened = contextlib.ExitStack()
        self._step: int | None = None  # the one being written
        _quieten_orbax()
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._directory = self._named(self._directory)
            self._manager = self._open()
        except OSError as error:
            raise UserError(
                f"{directory}: cannot be opened ({_reason(error)}); "
                "expected a folder for checkpoints"
            ) from None

    def save(self, step: int, state: Any, meta: dict[str, Any]) -> None:
        """Begins to write a checkpoint; the state may be donated or changed after it.

        A step that is already there is left alone: a run has one state at a step.

        Args:
          step: number of the checkpoint.
          state: a pytree of arrays, random keys and Python numbers.
          meta: plain data for JSON (epoch, genotype, ...).

        Raises:
          UserError: if this checkpoint or the one before it could not be written
            (full disk, read-only folder). Older checkpoints stay intact.
        """
        self.wait()
        if step in self._manager.all_steps():
            return
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(pack(state)),
            meta=ocp.args.JsonSave(_seal(meta, describe(state))),
        )
        self._step = step
        self._write(lambda: self._manager.save(step, args=args, force=True))

    @phased("writing the checkpoint")
    def wait(self) -> None:
        """Returns when the last `save` is on disk.

        Raises:
          UserError: if it could not be written.
        """
        self._write(lambda: self._manager.wait_until_finished())

    def close(self) -> None:
        """Finishes the last `save`; nothing can be done with the object after it.

        Raises:
          UserError: if it could not be written.
        """
        try:
            self.wait()
        finally:
            self._manager.close()
            self._opened.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            self.close()
        except UserError as error:
            if kind is None:
                raise
            _log.warning("%s", error)  # must not hide the exception on its way

    def latest(self) -> int | None:
        """The newest step on disk; None if there is none.

        Raises:
          UserError: if the last `save` could not be written.
        """
        self.wait()
        return self._manager.latest_step()

    @phased("reading the checkpoint")
    def restore(self, target: Any) -> Restored | None:
        """Reads the newest checkpoint that is intact.

        Damaged newer ones are renamed to ``STEP.damaged``, with a warning, so that the
        run can save these steps again.

        Args:
          target: the tree to read into: concrete arrays, or ``jax.ShapeDtypeStruct``
            with shardings (without one: the first device). The devices need not be
            those that it was saved on.

        Returns:
          What was read; None if there is no checkpoint.

        Raises:
          UserError: if no checkpoint is readable, or the newest intact one does not
            fit the target. Nothing is then renamed.
        """
        self.wait()
        damaged: dict[int, str] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                restored = self._read(step, target)
            except _Damaged as error:
                damaged[step] = str(error)
                continue
            self._set_aside(damaged, step)
            return restored
        if damaged:
            newest = max(damaged)
            raise UserError(
                f"{self._shown}: none of its {len(damaged)} checkpoints can be read "
                f"({newest}: {damaged[newest]}); delete the folder to begin again"
            )
        return None

    def _read(self, step: int, target: Any) -> Restored:
        """One checkpoint, checked.

        Raises:
          _Damaged: if it is not what was saved.
          UserError: if it fits another target, or the machine cannot read it now.
        """
        meta, leaves = self._load(step, lambda: self._read_meta(step))
        misfit = difference(leaves, describe(target, checksums=False))
        if misfit:
            raise UserError(
                f"{self._shown / str(step)}: of an earlier version, or a checkpoint of "
                f"another network: {misfit}"
            )
        state = self._load(step, lambda: self._read_state(step, target, leaves))
        return Restored(step, state, meta)

    def _read_meta(self, step: int) -> tuple[dict[str, Any], list[Leaf]]:
        args = ocp.args.Composite(meta=ocp.args.JsonRestore())
        read: Any = self._manager.restore(step, args=args)
        return _unseal(read.meta)

    def _read_state(self, step: int, target: Any, leaves: list[Leaf]) -> Any:
        packed = ocp.args.StandardRestore(pack_target(target, leaves))
        args = ocp.args.Composite(state=packed)
        read: Any = self._manager.restore(step, args=args)
        state = unpack(read.state, target, leaves)
        _check(leaves, describe(state))
        return state

    def _set_aside(self, damaged: dict[int, str], intact: int) -> None:
        for step, reason in damaged.items():
            folder = self._directory / str(step)
            aside = folder.with_name(f"{step}.damaged")
            shutil.rmtree(aside, ignore_errors=True)
            try:
                folder.rename(aside)
            except OSError as error:
                raise UserError(
                    f"{folder}: damaged, and cannot be moved ({_reason(error)})"
                ) from None
            _log.warning(
                "%s: damaged (%s); moved to %s, continuing from step %d",
                self._shown / str(step),
                reason,
                aside.name,
                intact,
            )
        if damaged:
            self._manager.reload()

    def _load(self, step: int, call: Callable[[], Any]) -> Any:
        result, failure = _quietly(call, lambda error: True)
        if failure is None:
            return result
        if failure.machine:
            raise UserError(
                f"{self._shown / str(step)}: cannot be read ({failure.reason})"
            )
        raise _Damaged(failure.reason)

    def _write(self, call: Callable[[], Any]) -> None:
        # Anything else is a mistake in the caller, not a failed write.
        _, failure = _quietly(
            call, lambda e: isinstance(e, OSError) or bool(_STATUS.match(str(e)))
        )
        if failure is not None:
            self._reopen()
            raise UserError(
                f"{self._shown / str(self._step)}: the checkpoint cannot be written "
                f"({failure.reason}); older checkpoints are intact"
            )

    def _named(self, folder: Path) -> Path:
        """The folder by a name in UTF-8: TensorStore takes no other ones."""
        try:
            str(folder).encode()
            return folder
        except UnicodeEncodeError:
            opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            self._opened.callback(os.close, opened)
            return Path(f"/proc/self/fd/{opened}")

    def _open(self) -> "ocp.CheckpointManager":
        """Orbax's manager of the folder, from which half-written steps are removed."""
        for folder in self._directory.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(folder, ignore_errors=True)
        options = ocp.CheckpointManagerOptions(max_to_keep=self._keep)
        return ocp.CheckpointManager(self._directory, options=options)

    def _reopen(self) -> None:
        """Starts over: after a failed write Orbax's list of steps is wrong, and later
        calls raise the same error again."""
        with contextlib.suppress(Exception):
            self._manager.close()
        with contextlib.suppress(OSError):
            self._manager = self._open()


class _Damaged(Exception):
    """A checkpoint is not what was saved."""


class _Failure(NamedTuple):
    """Why Orbax failed, and whether the machine (no memory, no permission) is to blame
    rather than the files. It holds no traceback: see `_quietly`."""

    reason: str
    machine: bool


def _quietly(
    call: Callable[[], Any], expected: Callable[[Exception], bool]
) -> tuple[Any, _Failure | None]:
    """Calls Orbax; an expected error comes back as plain data.

    After an error Orbax leaves coroutines and tasks behind; Python complains about them
    on the terminal when it collects them. So nothing may keep them alive, and they are
    collected before the complaints are allowed again.
    """
    with _no_complaints():
        try:
            return call(), None
        except Exception as error:
            if not expected(error):
                raise
            machine = _errno(error) not in {None, *_DAMAGE}
            machine = machine or isinstance(error, MemoryError)
            failure = _Failure(_reason(error), machine)
        gc.collect()
    return None, failure


@contextlib.contextmanager
def _no_complaints() -> Iterator[None]:
    log, hook = logging.getLogger("asyncio"), sys.unraisablehook
    log.addFilter(_nothing)
    sys.unraisablehook = lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "coroutine", RuntimeWarning)
            yield
    finally:
        log.removeFilter(_nothing)
        sys.unraisablehook = hook


def _nothing(record: logging.LogRecord) -> bool:
    return False


def _seal(meta: dict[str, Any], leaves: list[Leaf]) -> dict[str, Any]:
    """What is stored beside the state: the user's data and the state's checksums."""
    content = json.dumps({"meta": meta, "leaves": leaves})
    return {"content": content, "crc": zlib.crc32(content.encode())}


def _unseal(sealed: Any) -> tuple[dict[str, Any], list[Leaf]]:
    if zlib.crc32(sealed["content"].encode()) != sealed["crc"]:
        raise _Damaged("its record of the run does not match its checksum")
    content = json.loads(sealed["content"])
    leaves = [Leaf(path, tuple(s), d, crc) for path, s, d, crc in content["leaves"]]
    return content["meta"], leaves


def _check(stored: list[Leaf], read: list[Leaf]) -> None:
    there = {leaf.path: leaf for leaf in read}
    for leaf in stored:
        found = there[leaf.path].crc
        if None not in (leaf.crc, found) and leaf.crc != found:
            raise _Damaged(f"{leaf.path} does not match its checksum")


def _reason(error: BaseException) -> str:
    """The cause in a few words."""
    number = _errno(error)
    if number is not None:
        return os.strerror(number)
    return " ".join(str(error).split())[:100] or type(error).__name__


def _errno(error: BaseException) -> int | None:
    """The system's error number, if the system is the cause."""
    if isinstance(error, OSError):
        return error.errno
    found = _SYSTEM_ERROR.search(str(error))
    return int(found[1]) if found else None


@functools.cache  # once in a process
def _quieten_orbax() -> None:
    """Keeps Orbax's log, with its tracebacks of handled errors, off the terminal.

    Also what its reads say that are still under way in threads when one has failed:
    they end after their event loop is closed, at any later time.
    """
    logging.getLogger("absl").addFilter(_not_from_orbax)
    usual = sys.unraisablehook

    def hook(complaint: Any) -> None:
        if str(complaint.exc_value) != "Event loop is closed":
            usual(complaint)

    sys.unraisablehook = hook


def _not_from_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname
