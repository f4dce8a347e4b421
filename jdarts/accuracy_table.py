"""Tables of trained cells: what a derived cell is worth, without training it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jdarts.data.base import DAMAGED, shape_text
from jdarts.errors import UserError, unknown_choice
from jdarts.regular_file import open_regular
from jdarts.spaces import NAS_BENCH_201, Genotype, SearchSpace

__all__ = ["DEFAULT_DATA", "TABLE_DATA", "AccuracyTable", "load_table"]

# By name: what the cells of the table were trained on.
TABLE_DATA = {"c10": "CIFAR-10", "c100": "CIFAR-100", "in16": "ImageNet16-120"}
DEFAULT_DATA = "c10"

_SPACE = NAS_BENCH_201
_SPEC = _SPACE.cells["normal"]
_NAMES = {"conv_1x1": "nor_conv_1x1", "conv_3x3": "nor_conv_3x3"}


class AccuracyTable(NamedTuple):
    """Accuracies of all cells of NAS-Bench-201 after 200 epochs of training.

    Attributes:
      valid: on the validation images, in [0, 1], one a cell.
      test: on the test images.
      rows: the primitives of all edges to the cell's number.
    """

    valid: np.ndarray
    test: np.ndarray
    rows: dict[tuple[str, ...], int]

    @property
    def chance(self) -> dict[str, float]:
        """``table_mean_test_accuracy``: of all cells, so that of random ones exactly;
        ``table_best_test_accuracy``; ``random_regret``: their difference."""
        mean, best = float(self.test.mean(dtype=np.float64)), float(self.test.max())
        return {
            "table_mean_test_accuracy": mean,
            "table_best_test_accuracy": best,
            "random_regret": best - mean,
        }

    def look_up(self, genotype: Genotype) -> dict[str, float]:
        """``table_valid_accuracy``, ``table_test_accuracy``, and ``regret``: by how
        much the best cell's test accuracy is higher."""
        row = self.rows[primitives_of(genotype)]
        test = float(self.test[row])
        return {
            "table_valid_accuracy": float(self.valid[row]),
            "table_test_accuracy": test,
            "regret": float(self.test.max()) - test,
        }


def primitives_of(genotype: Genotype) -> tuple[str, ...]:
    """The primitive of every edge, `none` where there is no connection."""
    cell, found = genotype.cells["normal"], []
    for source, target in _SPEC.edges:
        node = {c.source: c.primitive for c in cell.nodes[target - _SPEC.inputs]}
        found.append(node.get(source, "none"))
    return tuple(found)


def load_table(path: Path, data: str, space: SearchSpace) -> AccuracyTable:
    """Reads a table.

    Args:
      path: an ``.npz`` file with ``op_names``, ``ops`` ``[cell, edge]`` (numbers of the
        former; edges in the order of `CellSpec.edges`) and, for each name D of
        TABLE_DATA, ``D_val_200`` and ``D_test_200`` ``[cell]`` in percent.
      data: a name of TABLE_DATA.
      space: the space of the search.

    Raises:
      UserError: if the file is not such a table, or does not fit the space.
    """
    if data not in TABLE_DATA:
        raise unknown_choice("--table-data", data, TABLE_DATA)
    if space.name != _SPACE.name:
        raise UserError(
            f"--table: a table of the cells of '{_SPACE.name}' and --space "
            f"{space.name} do not go together; expected --space {_SPACE.name}"
        )
    columns = ("op_names", "ops", f"{data}_val_200", f"{data}_test_200")
    try:
        # numpy would leave a damaged file open
        with open_regular(path) as opened, np.load(opened, allow_pickle=False) as file:
            names, ops, valid, test = (np.asarray(file[c]) for c in columns)
    except (OSError, *DAMAGED) as error:
        raise UserError(
            f"--table: {path}: cannot be read ({error}); expected an .npz file with "
            f"{', '.join(columns)}"
        ) from None
    ours = {_NAMES.get(name, name): name for name in _SPEC.primitives}
    found = names.ravel().tolist()
    shapes_fit = ops.ndim == 2 and ops.shape[1] == len(_SPEC.edges)
    numbers = ops.dtype.kind in "iu" and np.isin(ops, range(len(found))).all()
    if set(found) != set(ours) or not (shapes_fit and numbers):
        raise UserError(
            f"--table: {path}: ops {shape_text(ops)} of {', '.join(map(str, found))}; "
            f"expected numbers of {', '.join(ours)} on {len(_SPEC.edges)} edges"
        )
    named = np.array([ours[name] for name in found])[ops]
    rows = {tuple(row): i for i, row in enumerate(named.tolist())}
    expected = len(ours) ** len(_SPEC.edges)
    if not (len(rows),) == valid.shape == test.shape == (expected,):
        raise UserError(
            f"--table: {path}: {len(rows)} cells, {test.size} accuracies; expected "
            f"{expected} of both"
        )
    return AccuracyTable(valid / 100, test / 100, rows)
