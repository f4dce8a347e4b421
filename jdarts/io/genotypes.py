"""The genotypes of a run: one an epoch, and the final one."""

from pathlib import Path

from jdarts.errors import UserError
from jdarts.io.files import read_json, write_json
from jdarts.spaces import Genotype

__all__ = ["GenotypeLog"]


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
