"""Accuracies of derived cells from a table."""

import itertools

import numpy as np
import pytest

from jdarts import Genotype, UserError
from jdarts.accuracy_table import TABLE_DATA, load_table, primitives_of
from jdarts.spaces import NAS_BENCH_201, TOY, CellGenotype, Connection
from jdarts.spaces.random import random_genotype

NAMES = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
OPS = np.array(list(itertools.product(range(5), repeat=6)), np.uint8)[::-1]


def write(path, **changes):
    random = np.random.default_rng(0)
    columns = {"op_names": np.array(NAMES), "ops": OPS}
    for data in TABLE_DATA:
        for part in ("val", "test"):
            accuracies = random.uniform(10, 90, len(OPS)).astype(np.float32)
            columns[f"{data}_{part}_200"] = accuracies
    columns |= changes
    kept = {name: value for name, value in columns.items() if value is not None}
    np.savez(path, **kept)
    return columns


def cell(*connections):
    """Node 1, 2, 3: pairs of primitive and source."""
    nodes = tuple(tuple(Connection(*pair) for pair in node) for node in connections)
    return Genotype("nas_bench_201", {"normal": CellGenotype(nodes, (3,), inputs=1)})


def test_primitives_of_all_edges():
    found = primitives_of(
        cell(
            [("conv_3x3", 0)],
            [("skip_connect", 1)],
            [("avg_pool_3x3", 2), ("conv_1x1", 0)],
        )
    )
    assert found == (
        "conv_3x3",
        "none",
        "skip_connect",
        "conv_1x1",
        "none",
        "avg_pool_3x3",
    )


@pytest.mark.parametrize("data", TABLE_DATA)
def test_look_up(tmp_path, data):
    path = tmp_path / "table.npz"
    columns = write(path)
    table = load_table(path, data, NAS_BENCH_201)
    generator = np.random.default_rng(1)
    for _ in range(20):
        genotype = random_genotype(NAS_BENCH_201, generator)
        names = [
            {"conv_1x1": "nor_conv_1x1", "conv_3x3": "nor_conv_3x3"}.get(name, name)
            for name in primitives_of(genotype)
        ]
        row = next(i for i, ops in enumerate(OPS) if [NAMES[op] for op in ops] == names)
        found = table.look_up(genotype)
        test = columns[f"{data}_test_200"]
        valid = columns[f"{data}_val_200"][row]
        np.testing.assert_allclose(found["table_valid_accuracy"], valid / 100, 1e-6)
        np.testing.assert_allclose(found["table_test_accuracy"], test[row] / 100, 1e-6)
        regret = (test.max() - test[row]) / 100
        np.testing.assert_allclose(found["regret"], regret, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ops": OPS[:, :5]}, r"ops uint8 \[15625, 5\] .* on 6 edges"),
        ({"ops": OPS[:100]}, "100 cells, 15625 accuracies; expected 15625"),
        ({"op_names": np.array([*NAMES[:4], "conv"])}, "expected numbers of none"),
        ({"ops": OPS.astype(float)}, "ops float64 .* expected numbers of none"),
        ({"ops": OPS + 1}, "expected numbers of none"),
        ({"c10_val_200": np.zeros(())}, "15625 cells, .*; expected 15625"),
        ({"c10_test_200": None}, "cannot be read .*c10_test_200"),
    ],
)
def test_bad_tables(tmp_path, changes, message):
    path = tmp_path / "table.npz"
    write(path, **changes)
    with pytest.raises(UserError, match=message):
        load_table(path, "c10", NAS_BENCH_201)


def test_bad_arguments(tmp_path):
    path = tmp_path / "table.npz"
    write(path)
    with pytest.raises(UserError, match="--space toy do not go together; expected"):
        load_table(path, "c10", TOY)
    with pytest.raises(UserError, match="--table-data: unknown 'c11'.*'c10'"):
        load_table(path, "c11", NAS_BENCH_201)
    with pytest.raises(UserError, match="absent.npz: cannot be read"):
        load_table(tmp_path / "absent.npz", "c10", NAS_BENCH_201)
    whole = path.read_bytes()
    for damaged in (b"no archive", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="table.npz: cannot be read"):
            load_table(path, "c10", NAS_BENCH_201)
    np.save(tmp_path / "ops.npy", OPS)
    with pytest.raises(UserError, match="ops.npy: cannot be read"):
        load_table(tmp_path / "ops.npy", "c10", NAS_BENCH_201)
