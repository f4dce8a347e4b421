"""What is written down of one seed, without any search."""

import numpy as np
import pytest

from jdarts.curvature import CurvatureConfig
from jdarts.io import RunFolder
from jdarts.loops.measures import IMAGES
from jdarts.loops.record import SeedRecord
from jdarts.problem import Evaluation
from jdarts.reports.pareto import QUALITIES
from jdarts.reports.read import read_search
from jdarts.spaces import TOY
from jdarts.spaces.random import random_genotype

# Three measurements are compared: it stops after epoch 3 with the genotype of epoch 1.
CURVATURE = CurvatureConfig(every=1, stop=1.5, window=1, back=2, start=1)


@pytest.fixture
def opened(tmp_path):
    """``opened()``: the record of one seed, and what it is told of three epochs."""
    folder = RunFolder.open(tmp_path / "run", {"space": "toy"}, ())
    with folder:
        yield lambda: SeedRecord(0, folder, IMAGES, {}, CURVATURE)


GENOTYPES = [random_genotype(TOY, np.random.default_rng(i)) for i in range(3)]


def tell(record, epoch, eigenvalue):
    names = "train_loss", "train_accuracy", "valid_loss"
    record.add_step(epoch, dict.fromkeys(names, float(epoch)), log=False)
    found = Evaluation(loss=8.0, correct=float(epoch), count=8.0)
    known = {"derived_cost": 100.0 * epoch, "table_test_accuracy": 0.1 * epoch}
    genotype = GENOTYPES[epoch - 1]
    empty = {"alpha": {}, "beta": {}, "mix": {}}
    return record.end_epoch(
        epoch, epoch, True, found, genotype, empty, known, eigenvalue
    )


def test_a_stop_takes_all_of_the_genotype_from_the_results_epoch(opened):
    record = opened()
    rows = [tell(record, epoch, float(epoch)) for epoch in (1, 2, 3)]
    assert record.stop == (3, 1, 3.0) and record.ended
    own = [n for n in rows[0] if n.split("_")[0] in ("derived", "table", "skips")]
    assert len(own) == 4
    assert record.measured == rows[2] | {name: rows[0][name] for name in own}
    assert record.measured["supernet_accuracy"] == 3 / 8  # the supernet is the last one
    assert tell(record, 3, 9.0) is record.measured  # what comes later is not its own
    again = opened()
    again.restore(record.meta())
    assert again.measured == record.measured and again.stop == record.stop
    run = read_search(record.folder.path)
    (seed,) = run.seeds
    assert [row["derived_cost"] for row in seed.epochs] == [100, 200, 300]
    assert seed.result_row == seed.epochs[0]
    assert QUALITIES["table"](run, seed) == 0.1
    assert QUALITIES["supernet"](run, seed) == 1 / 8
