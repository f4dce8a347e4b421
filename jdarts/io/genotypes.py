"""The genotypes of a run: one an epoch, and the final one; genotypes by name."""

import json
import os
import zlib
from pathlib import Path

from jdarts.errors import UserError, unknown_choice
from jdarts.io.files import cannot, read_json, write_json
from jdarts.io.peers import from_fields, is_field
from jdarts.io.printed import (
    MAX_CHARACTERS,
    is_printed,
    printed_genotype,
    printed_names,
)
from jdarts.regular_file import open_regular
from jdarts.spaces import ZOO, Genotype

__all__ = ["GenotypeLog", "genotype_place", "load_genotype", "split_choice"]

_MAX_NAME = 255  # of a file's name, in bytes, on common systems


class GenotypeLog:
    """Keeps ``{"final": {...} | null, "epochs": [{"epoch": n, "genotype": {...}}]}``.

    The file is rewritten atomically at every change. `Genotype.load` reads the final
    genotype from it.
    """

    def __init__(self, path: Path) -> None:
        """Opens a file that may or may not exist.

        Raises:
          UserError: if it exists and is not a run's genotype file.
        """
        self.path = path
        self.final: Genotype | None = None
        self.epochs: dict[int, Genotype] = {}
        if path.exists():
            self._read()

    def record(self, epoch: int, genotype: Genotype) -> None:
        """Stores an epoch's genotype; the run is then not finished (any more).

        Raises:
          UserError: if the file cannot be written.
        """
        self._write({**self.epochs, epoch: genotype}, None)

    def finish(self, genotype: Genotype) -> None:
        """Stores the genotype that the run ends with.

        Raises:
          UserError: if the file cannot be written.
        """
        self._write(self.epochs, genotype)

    def truncate_after(self, epoch: int) -> None:
        """Drops later epochs, and the final genotype: the run goes on from here.

        Raises:
          UserError: if the file cannot be written.
        """
        kept = {n: genotype for n, genotype in self.epochs.items() if n <= epoch}
        if kept != self.epochs or self.final is not None:
            self._write(kept, None)

    def pin(self, epoch: int) -> dict[str, int]:
        """How many genotypes of the epochs up to one there are, and a checksum."""
        kept = {n: g.to_json() for n, g in self.epochs.items() if n <= epoch}
        return {"rows": len(kept), "crc": zlib.crc32(json.dumps(kept).encode())}

    def _read(self) -> None:
        data, source = read_json(self.path), str(self.path)
        try:
            final = data["final"]
            epochs = {int(row["epoch"]): row["genotype"] for row in data["epochs"]}
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            raise UserError(
                f"{source}: not the genotypes of a run ({type(error).__name__}: "
                f'{error}); expected {{"final": ..., "epochs": [...]}}'
            ) from None
        if final is not None:
            self.final = Genotype.from_json(final, f"{source}, final")
        self.epochs = {
            epoch: Genotype.from_json(genotype, f"{source}, epoch {epoch}")
            for epoch, genotype in epochs.items()
        }

    def _write(self, epochs: dict[int, Genotype], final: Genotype | None) -> None:
        epochs = dict(sorted(epochs.items()))
        rows = [{"epoch": n, "genotype": g.to_json()} for n, g in epochs.items()]
        last = None if final is None else final.to_json()
        write_json(self.path, {"final": last, "epochs": rows})
        self.epochs, self.final = epochs, final


def load_genotype(which: str | Path, allow_unfinished: bool = False) -> Genotype:
    """The genotype of that name, or that a file or a run holds, or a text is.

    Args:
      which: a name of the zoo; the folder of a run; a file with one genotype, with
        those of a run, or with what other programs print (see `jdarts.io.printed`), or
        that itself. ``RUN@5`` is that of a search's epoch 5, ``FILE@NAME`` one of
        several in a file.
      allow_unfinished: of a search that has not come to its end, take the genotype of
        its last epoch.

    Raises:
      UserError: if there is no such thing, it holds no genotype, several and none was
        chosen, or one that is malformed; or the search is not finished and that is not
        allowed.
    """
    if str(which) in ZOO:
        return ZOO[str(which)]
    if is_printed(str(which)):
        return printed_genotype(str(which), "genotype")
    path, choice = split_choice(which)
    if path.is_dir():
        return _of_run(path, allow_unfinished, choice)
    if not path.is_file():
        raise unknown_choice(
            "genotype",
            str(which)[:80],
            ZOO,
            f"it is no file and no folder of a run; names: {', '.join(sorted(ZOO))}",
        )
    if path.suffix != ".json":
        return printed_genotype(_text(path), str(path), choice)
    data = read_json(path)
    if isinstance(data, dict) and "final" in data:
        return _of_log(GenotypeLog(path), path, allow_unfinished, choice)
    if choice is not None:
        raise UserError(f"{path}@{choice}: holds one genotype; expected {path}")
    if isinstance(data, dict) and any(map(is_field, data)):
        return from_fields(data, str(path))
    return Genotype.from_json(data, str(path))


def split_choice(which: str | Path) -> tuple[Path, str | None]:
    """``runs/digits@5`` as a path and what was chosen in it; None: nothing was.

    What is there under the whole name is that.

    Raises:
      UserError: for a text that no file can be called.
    """
    if any(len(os.fsencode(part)) > _MAX_NAME for part in Path(which).parts):
        raise unknown_choice("genotype", str(which)[:80], ZOO)
    path = Path(which)
    before, at, choice = path.name.rpartition("@")
    if not at or not before or path.exists():
        return path, None
    return path.with_name(before), choice


def genotype_place(which: str) -> Path:
    """Where what is made of a genotype goes, unless told otherwise: the folder of its
    run (of epoch 5: ``epoch_5`` in it), or ``runs/NAME``.

    Args:
      which: as for `load_genotype`.
    """
    runs = Path("runs")
    if which in ZOO:
        return runs / which
    if is_printed(which):
        names = printed_names(which)
        name = names[0] if names and not names[0].isdecimal() else None
        return runs / (name or f"genotype_{zlib.crc32(which.strip().encode()):08x}")
    path, choice = split_choice(which)
    if path.is_dir():
        return path if choice is None else path / f"epoch_{choice}"
    if (path.parent / "config.json").is_file():  # the file of a run
        return path.parent if choice is None else path.parent / f"epoch_{choice}"
    if choice is None:
        return runs / path.stem
    return runs / (f"{path.stem}_{choice}" if choice.isdecimal() else choice)


def _text(path: Path) -> str:
    try:
        with open_regular(path) as file:
            content = file.read(4 * MAX_CHARACTERS + 1)
    except OSError as error:
        raise cannot(path, "read", error) from None
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise UserError(
            f"{path}: no text in UTF-8; expected a file of genotypes, or the log of a "
            "search"
        ) from None


def _of_run(path: Path, allow_unfinished: bool, epoch: str | None) -> Genotype:
    file = path / "genotype.json"
    if file.exists():
        return _of_log(GenotypeLog(file), path, allow_unfinished, epoch)
    seeds = sorted(path.glob("seed_*"))
    if seeds:
        raise UserError(
            f"{path}: a run of several seeds; expected one of them, as {seeds[0]}"
        )
    raise UserError(f"{path}: holds no genotype.json; expected the folder of a search")


def _of_log(
    log: GenotypeLog, where: Path, allow_unfinished: bool, epoch: str | None
) -> Genotype:
    if epoch is not None:
        return _of_epoch(log, where, epoch)
    if log.final is not None:
        return log.final
    if not log.epochs:
        raise UserError(f"{where}: the search has no genotype yet; let it go on")
    last = max(log.epochs)
    if not allow_unfinished:
        raise UserError(
            f"{where}: the search is not finished (last epoch: {last}); let it go on, "
            "or give --allow-unfinished for that epoch's genotype"
        )
    return log.epochs[last]


def _of_epoch(log: GenotypeLog, where: Path, epoch: str) -> Genotype:
    found = {str(number): genotype for number, genotype in log.epochs.items()}
    if epoch in found:
        return found[epoch]
    numbers = f"epochs {min(log.epochs)} to {max(log.epochs)}" if found else "no epoch"
    raise UserError(
        f"{where}@{epoch}: it holds genotypes of {numbers}; expected one of these, or "
        f"{where} alone for the final one"
    )
