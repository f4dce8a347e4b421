"""Several searches side by side: the front, and regret by method."""

import json

import numpy as np
import pytest
from folders import config, make_run

from jdarts import pareto, regret
from jdarts.cli import run_command
from jdarts.methods.nasp import NaspConfig
from jdarts.reports.pareto import non_dominated

SIZE = "--channels 2 --layers 3 --classes 3 --image 8 8 3".split()


def test_non_dominated_against_brute_force():
    random = np.random.default_rng(0)
    for count in (1, 2, 7, 30):
        cost = random.integers(5, size=count)
        good = random.integers(5, size=count) / 4
        found = non_dominated(cost, good)
        for i in range(count):
            beaten = any(
                cost[j] <= cost[i]
                and good[j] >= good[i]
                and (cost[j] < cost[i] or good[j] > good[i])
                for j in range(count)
            )
            assert found[i] == (not beaten)
        assert found.any()


def add_columns(folder, columns):
    """Gives every epoch of a run more metrics: ``columns(epoch, folder)``."""
    for file in folder.rglob("metrics.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        for row in rows:
            if row["kind"] == "epoch":
                row |= columns(row["epoch"], file.parent)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Searches by NASP of several eta."""
    root = tmp_path_factory.mktemp("sweep")
    for seed, eta in enumerate((0.0, 0.5, 2.0)):
        settings = config(method=NaspConfig(eta=eta), seed=seed)
        make_run(root / f"eta{eta:g}", settings=settings)
    return [str(root / f"eta{eta}") for eta in ("0", "0.5", "2")]


def test_pareto(sweep, capsys, tmp_path):
    out = tmp_path / "front.html"
    assert run_command(pareto.main, [*sweep, *SIZE, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "nasp, method.eta=0.5, seed 1" in printed
    assert "Mean parameters by method.eta: 0: " in printed
    assert "on the front of parameters and supernet accuracy" in printed
    page = out.read_text()
    assert page.startswith("<!doctype html>") and page.count("<svg") >= 1
    assert "<script" not in page and "method.eta=2" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cost", "parameter"], "--cost: unknown 'parameter'"),
        (["--quality", "table"], "has no accuracy of the kind table; expected another"),
        (["--quality", "tables"], "--quality: unknown 'tables'"),
        (["--cost", "latency"], "--latency-table: --cost latency and a table go"),
        (["--layers", "0"], "--layers: 0; expected at least 1"),
    ],
)
def test_bad_pareto(sweep, capsys, arguments, message):
    assert run_command(pareto.main, [*sweep, *SIZE, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_run_is_given_once(sweep, capsys):
    assert run_command(pareto.main, [sweep[0], sweep[0]]) == 2
    assert "given twice; expected each run once" in capsys.readouterr().err
    assert run_command(regret.main, [sweep[0]]) == 2
    assert "no true accuracies in its metrics" in capsys.readouterr().err


def test_regret(tmp_path, capsys):
    """Two runs of one method with other seeds are one group; figures by NumPy."""
    random, known = np.random.default_rng(0), {}

    def columns(epoch, folder):
        accuracy = float(random.uniform(0.6, 0.9))
        known[folder, epoch] = accuracy
        row = {"table_test_accuracy": accuracy, "regret": 0.94 - accuracy}
        row |= {"table_mean_test_accuracy": 0.7, "table_best_test_accuracy": 0.94}
        return row | {"random_regret": 0.94 - 0.7}

    make_run(tmp_path / "a", settings=config(seed=None, seeds=(0, 1)))
    make_run(tmp_path / "b", settings=config(seed=5))
    make_run(tmp_path / "n", settings=config(method=NaspConfig(), seed=0))
    add_columns(tmp_path, columns)
    runs = [str(tmp_path / name) for name in "abn"]
    assert run_command(regret.main, runs) == 0
    printed = capsys.readouterr().out
    ends = [v for (folder, e), v in known.items() if e == 3 and folder.name != "n"]
    row = next(line for line in printed.splitlines() if line.startswith("darts"))
    mean = np.mean(ends)
    figures = f"{100 * mean:.2f} +- {100 * np.std(ends, ddof=1):.2f}"
    assert len(ends) == 3 and row.split("  ")[0] == "darts" and figures in row
    assert f"{100 * (0.94 - mean):.2f}" in row and f"{100 * (mean - 0.7):+.2f}" in row
    assert "the mean random cell (70.00 %)" in printed
    assert "Fewer than three seeds" in printed  # of NASP
    page = (tmp_path / "a" / "regret.html").read_text()
    assert "<script" not in page and "mean random cell" in page
