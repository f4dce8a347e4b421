"""The derived cells as files: for a page, a paper, or another program."""

from collections.abc import Callable, Sequence
from pathlib import Path

from jdarts.errors import UserError
from jdarts.io import cell_dot, cell_svg, write_atomic
from jdarts.reports.read import read_search
from jdarts.spaces import CellGenotype

__all__ = ["DRAWINGS", "write_drawings"]

_ZOOM = 2.0  # pixels per unit of the drawing: sharp in print at its natural size


def _png(cell: CellGenotype, title: str) -> bytes:
    try:
        import resvg_py
    except ImportError:
        raise UserError(
            "--cells: png needs the package resvg-py; expected an installation with "
            "the extra draw (pip install 'jdarts[draw]'), or svg"
        ) from None
    return bytes(
        resvg_py.svg_to_bytes(
            svg_string=cell_svg(cell, title), background="white", zoom=_ZOOM
        )
    )


DRAWINGS: dict[str, Callable[[CellGenotype, str], str | bytes]] = {
    "svg": cell_svg,
    "dot": cell_dot,
    "png": _png,
}
"""Kind of file to what draws a cell under a title."""


def write_drawings(path: Path, kinds: Sequence[str]) -> list[Path]:
    """Draws the cells of a run: the final ones, or else those of the last epoch.

    Args:
      path: the run's folder; of several seeds each has its own folder in it.
      kinds: rows of DRAWINGS.

    Returns:
      The files, ``cell_TYPE.KIND``.

    Raises:
      UserError: if there is no genotype yet, a package is missing, or a file cannot be
        written; then nothing is written.
    """
    if not kinds:
        return []
    run = read_search(path)
    drawn: dict[Path, str | bytes] = {}
    for seed in run.seeds:
        if seed.genotype is None:
            raise UserError(
                f"{seed.path}: no genotype yet; expected a run with a finished epoch "
                "for --cells"
            )
        for name, cell in seed.genotype.cells.items():
            for kind in kinds:
                title = f"{run.config.name}: {name} cell"
                file = seed.path / f"cell_{name}.{kind}"
                drawn[file] = DRAWINGS[kind](cell, title)
    for file, content in drawn.items():
        write_atomic(file, content)
    return list(drawn)
