"""The genotypes of a run: one an epoch, and the final one; genotypes by name."""

from pathlib import Path

from jdarts.errors import UserError, unknown_choice
from jdarts.io.files import read_json, write_json
from jdarts.spaces import ZOO, Genotype

__all__ = ["GenotypeLog", "load_genotype"]


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

    def _read(self) -> None:
        data, source = read_json(self.path), str(self.path)
        try:
            final = data["final"]
            epochs = {int(row["epoch"]): row["genotype"] for row in data["epochs"]}
        except (TypeError, KeyError, ValueError) as error:
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
    """The genotype of that name, or that a file or a run holds.

    Args:
      which: a name of the zoo, a file with one genotype or with those of a run, or the
        folder of a run.
      allow_unfinished: of a search that has not come to its end, take the genotype of
        its last epoch.

    Raises:
      UserError: if there is no such thing, it holds no genotype, or the search is not
        finished and that is not allowed.
    """
    if str(which) in ZOO:
        return ZOO[str(which)]
    path = Path(which)
    if path.is_dir():
        return _of_run(path, allow_unfinished)
    if not path.is_file():
        raise unknown_choice(
            "genotype",
            str(which),
            ZOO,
            f"it is no file and no folder of a run; names: {', '.join(sorted(ZOO))}",
        )
    data = read_json(path)
    if isinstance(data, dict) and "final" in data:
        return _of_log(GenotypeLog(path), path, allow_unfinished)
    return Genotype.from_json(data, str(path))


def _of_run(path: Path, allow_unfinished: bool) -> Genotype:
    file = path / "genotype.json"
    if file.exists():
        return _of_log(GenotypeLog(file), path, allow_unfinished)
    seeds = sorted(path.glob("seed_*"))
    if seeds:
        raise UserError(
            f"{path}: a run of several seeds; expected one of them, as {seeds[0]}"
        )
    raise UserError(f"{path}: holds no genotype.json; expected the folder of a search")


def _of_log(log: GenotypeLog, where: Path, allow_unfinished: bool) -> Genotype:
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
