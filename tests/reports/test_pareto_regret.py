"""Several searches side by side: the front, and regret by method."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from folders import add_columns, config, make_run, make_training, recipe
from scipy import stats

from jdarts import UserError, pareto, regret
from jdarts.cli import run_command
from jdarts.data import DataConfig
from jdarts.io import GenotypeLog
from jdarts.io.data_facts import DataFacts
from jdarts.methods.nasp import NaspConfig
from jdarts.nets.cost import NetworkShape, network_cost
from jdarts.reports import renew_report, write_report
from jdarts.reports.labels import check_alike, labels
from jdarts.reports.pareto import QUALITIES, Point, luck, non_dominated, trend
from jdarts.reports.read import read_run, read_search
from jdarts.reports.regret import Group, groups_of, pairs_of, regret_page, sentence

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


def test_the_front_says_how_much_of_it_may_be_luck():
    costs, qualities = [1.0, 2.0, 3.0], [0.80, 0.81, 0.90]

    def of(error):
        points = [
            Point("m", "run", i, cost, quality, error)
            for i, (cost, quality) in enumerate(zip(costs, qualities, strict=True))
        ]
        return luck(points, non_dominated(costs, qualities))

    assert of(0.01).startswith("1 of the 3 on the front are within two standard errors")
    assert of(0.001).startswith("0 of the 3") and of(0.1).startswith("2 of the 3")
    assert of(None).startswith("Not every accuracy was measured twice")


def test_rank_correlation_counts_settings_not_seeds(sweep):
    """Three settings in order: one of six orders each way, however many seeds."""
    runs = [read_search(Path(path)) for path in sweep]
    doubled = [dataclasses.replace(run, seeds=run.seeds * 2) for run in runs]
    points = [
        Point("nasp", str(run.path), 0, cost, 0.9)
        for run, cost in zip(doubled, (3.0, 2.0, 1.0), strict=True)
        for _ in run.seeds
    ]
    text = trend(doubled, points, "parameters")
    assert (
        "Rank correlation of method.eta and mean cost: -1.00 (n = 3, p = 0.33)" in text
    )


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
        (["--image", "0", "0", "3"], "--image: 0 0 3; expected three numbers >= 1"),
    ],
)
def test_bad_pareto(sweep, capsys, arguments, message):
    assert run_command(pareto.main, [*sweep, *SIZE, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_pareto_compares_accuracies_of_one_thing(tmp_path, capsys):
    make_run(tmp_path / "a", settings=config(table_data="c10"))
    make_run(tmp_path / "b", settings=config(table_data="c100"))
    other = DataConfig(name="cifar10", dir=tmp_path)
    make_run(tmp_path / "c", settings=config(data=other))
    add_columns(tmp_path, known_accuracies(lambda epoch, folder: 0.8))
    runs = {name: str(tmp_path / name) for name in "abc"}
    size = [*SIZE, "--out", str(tmp_path / "page.html")]
    assert run_command(pareto.main, [runs["a"], runs["b"], *size]) == 2
    assert "table_data c100, but " in capsys.readouterr().err
    assert run_command(pareto.main, [runs["a"], runs["c"], *size]) == 2
    assert "data.name cifar10, but " in capsys.readouterr().err
    supernet = [runs["a"], runs["b"], *size, "--quality", "supernet"]
    assert run_command(pareto.main, supernet) == 0


@pytest.mark.parametrize(
    ("changes", "digests", "message"),
    [
        ({}, "ab", "b: data.images bbbbbbbbbbbb, but "),
        ({}, "aa", None),
        ({}, "a ", None),  # of an earlier version
        ({"skip_damaged": True}, "aa", None),
        ({"resize": (8, 9)}, "  ", "b: data.resize [8, 9], but "),
        ({"split": "file_order"}, "  ", "b: data.split file_order, but "),
        ({"split": "by_class"}, "  ", None),
        ({"split": "by_class"}, "aa", None),
    ],
)
def test_pareto_compares_searches_on_the_same_images(
    tmp_path, capsys, changes, digests, message
):
    for name, digest in zip("ab", digests, strict=True):
        data = DataConfig(name="image_folder", dir=tmp_path / f"data_{name}", limit=9)
        if name == "b":
            data = dataclasses.replace(data, **changes)
        make_run(tmp_path / name, settings=config(data=data))
        known = None if digest == " " else digest * 64
        DataFacts(("x", "y"), (8, 8, 3), known).write(tmp_path / name)
    runs = [str(tmp_path / name) for name in "ab"]
    found = run_command(pareto.main, [*runs, *SIZE, "--out", str(tmp_path / "p.html")])
    error = capsys.readouterr().err
    assert found == (2 if message else 0)
    assert not message or message in error and error.count("\n") == 1
    both = labels([read_search(tmp_path / name) for name in "ab"])
    assert (both[0] != both[1]) == (
        digests == "ab" or changes.get("split") != "by_class" and bool(changes)
    )


def test_pareto_speaks_of_the_runs_own_network(tmp_path, capsys):
    make_run(tmp_path / "a")
    DataFacts(tuple("abcd"), (16, 8, 3)).write(tmp_path / "a")
    assert run_command(pareto.main, [str(tmp_path / "a")]) == 0
    size = "8 channels, 3 cells, 4 classes, images of 16 x 8 x 3"
    out = capsys.readouterr().out
    assert f"Networks of {size} (of the recipe train_digits)." in out
    final = GenotypeLog(tmp_path / "a" / "genotype.json").final
    shape = NetworkShape(channels=8, layers=3, classes=4, image=(16, 8, 3))
    count = sum(cost.parameters for cost in network_cost(final, shape))
    assert f"{count:,}" in out


def test_a_searchs_headline_is_what_its_cells_are_worth(tmp_path):
    """Trained, where they were; by the table, where there is one."""
    make_run(tmp_path / "a")
    add_columns(tmp_path, known_accuracies(lambda epoch, folder: 0.8))
    page = write_report(tmp_path / "a").read_text()
    assert "80.00 %" in page and "14.00 %" in page
    places = [page.index(head) for head in ("True test acc", "Regret", "Supernet acc")]
    assert places == sorted(places)
    training = tmp_path / "a" / "again"
    make_training(training)
    assert "of the found cell" not in write_report(tmp_path / "a").read_text()
    result = json.loads((training / "result.json").read_text())
    final = GenotypeLog(tmp_path / "a" / "genotype.json").final
    result["genotype"] = final.to_json()
    (training / "result.json").write_text(json.dumps(result))
    renew_report(tmp_path / "a")
    page = (tmp_path / "a" / "report.html").read_text()
    assert page.index("Test accuracy of the found cell") < page.index("True test acc")


def test_pareto_compares_networks_of_one_recipe(tmp_path, capsys):
    for name, epochs in (("a", 2), ("b", 2), ("c", 5)):
        make_run(tmp_path / name)
        training = tmp_path / name / "again"
        make_training(training, settings=recipe(epochs=epochs, seed=ord(name)))
        final = GenotypeLog(training / "genotype.json").final
        GenotypeLog(tmp_path / name / "genotype.json").finish(final)
        result = json.loads((training / "result.json").read_text())
        result["best"] = {**result["best"], "epoch": 1, "top1": 0.99}
        (training / "result.json").write_text(json.dumps(result))
    run = read_run(tmp_path / "a")
    last = result["last"]["top1"] - (ord("c") - ord("a")) / 100
    assert QUALITIES["retrained"](run, run.seeds[0]) == pytest.approx(last)
    a, b, c = (str(tmp_path / name) for name in "abc")
    size = [*SIZE, "--out", str(tmp_path / "page.html"), "--quality", "retrained"]
    assert run_command(pareto.main, [a, b, *size]) == 0
    assert "was measured twice: what is on the front" in capsys.readouterr().out
    assert run_command(pareto.main, [a, c, *size]) == 2
    error = capsys.readouterr().err
    assert "c/again: epochs 5, but " in error and "by one recipe" in error


def test_a_run_is_given_once(sweep, capsys):
    assert run_command(pareto.main, [sweep[0], sweep[0]]) == 2
    assert "given twice; expected each run once" in capsys.readouterr().err
    assert run_command(regret.main, [sweep[0]]) == 2
    assert "no true accuracies in its metrics" in capsys.readouterr().err


def known_accuracies(of_epoch):
    """Columns of a table, from ``of_epoch(epoch, folder)``."""

    def columns(epoch, folder):
        accuracy = of_epoch(epoch, folder)
        row = {"table_test_accuracy": accuracy, "regret": 0.94 - accuracy}
        row |= {"table_mean_test_accuracy": 0.7, "table_best_test_accuracy": 0.94}
        return row | {"random_regret": 0.94 - 0.7}

    return columns


def test_an_early_stop_keeps_its_result(tmp_path):
    """On its curve to the end, and in the table; the other seed's curve stays whole."""
    make_run(tmp_path / "a", epochs=4)
    make_run(tmp_path / "b", epochs=3, settings=config(seed=5))
    add_columns(tmp_path, known_accuracies(lambda epoch, folder: epoch / 10))
    file = tmp_path / "b" / "metrics.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[-1]["result_epoch"] = 1
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    runs = [read_search(tmp_path / name) for name in "ab"]
    (group,) = groups_of(runs)
    np.testing.assert_array_equal(group.epochs, [1, 2, 3, 4])
    expected = np.array([[1, 2, 3, 4], [1, 2, 1, 1]]) / 10
    np.testing.assert_allclose(group.regret, 0.94 - expected)
    np.testing.assert_allclose(group.accuracy, [0.4, 0.1])


def test_regret_takes_whole_searches_apart(tmp_path, capsys):
    """Unfinished ones are refused; one cut short is no seed of the others."""
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", finished=False, settings=config(seed=5))
    make_run(tmp_path / "c", settings=config(seed=6, steps=8))
    add_columns(tmp_path, known_accuracies(lambda epoch, folder: 0.8))
    runs = [str(tmp_path / name) for name in "ab"]
    assert run_command(regret.main, runs) == 2
    assert "b: the search is not finished" in capsys.readouterr().err
    groups = groups_of([read_search(tmp_path / name) for name in "ac"])
    assert [group.label for group in groups] == ["darts, steps=None", "darts, steps=8"]


def test_regret_needs_a_table_from_the_start(tmp_path, capsys):
    make_run(tmp_path / "a")
    late = known_accuracies(lambda epoch, folder: 0.8)
    add_columns(
        tmp_path, lambda epoch, folder: late(epoch, folder) if epoch > 1 else {}
    )
    assert run_command(regret.main, [str(tmp_path / "a")]) == 2
    assert "no true accuracies in its metrics" in capsys.readouterr().err


def test_table_data_by_name_and_by_default_are_one(tmp_path):
    runs = []
    for name, data in (("a", None), ("b", "c10"), ("c", "c100")):
        make_run(tmp_path / name, settings=config(table_data=data))
        runs.append(read_search(tmp_path / name))
    check_alike(runs[:2], ["table_data"])
    assert labels(runs[:2]) == ["darts", "darts"]
    with pytest.raises(UserError, match="c: table_data c100, but .*a has c10"):
        check_alike(runs, ["table_data"])


def group(label, *accuracies):
    """Of a table whose mean cell has 0.7 and whose best has 0.94."""
    found = np.array(accuracies)
    return Group(label, np.arange(3), np.ones((len(found), 3)), found, 0.7, 0.94)


def test_orders_are_told_apart_by_the_data():
    """Three seeds, deviations of 2.5 and 21 points: told by nothing but the table."""
    exact = group("exact", 0.8904, 0.9156, 0.9408)
    gdas = group("gdas", 0.5297, 0.7405, 0.9513)
    low = group("low", 0.31, 0.32, 0.33)
    (pair,) = pairs_of([gdas, exact])
    assert (pair.high, pair.low) == (exact, gdas)
    assert (
        pair.p
        == pair.adjusted
        == stats.ttest_ind(exact.accuracy, gdas.accuracy, equal_var=False).pvalue
    )
    assert pair.p == pytest.approx(0.29, abs=0.005)
    text = sentence([gdas, exact])
    assert (
        "Told apart (Welch's tests, p by Holm's rule for 1 pair): none. The order"
        in (text)
    )
    assert "91.56 % of 3 seeds (95 %: 85.30 to 97.82)" in text
    assert "the highest of 2, picked by these accuracies" in text
    # Against a known number: p of 0.0046 for exact becomes 0.0092, 0.77 is none.
    ps = [stats.ttest_1samp(g.accuracy, 0.7).pvalue for g in (exact, gdas)]
    assert f"Holm's rule): exact above (p = {2 * ps[0]:.2g}). Told apart" in text
    assert 2 * ps[0] < 0.05 < ps[1]
    text = sentence([gdas, exact, low])
    welch = stats.ttest_ind(exact.accuracy, low.accuracy, equal_var=False).pvalue
    assert f"for 3 pairs): exact above low (p = {3 * welch:.2g})" in text
    assert "low below (p = " in text and "The order of the others may be luck." in text
    alone = sentence([exact])
    assert "Told apart" not in alone and "picked by" not in alone
    page = regret_page([gdas, exact, low])
    assert page.count("Welch") >= 2 and "85.30 to 97.82" in page


def test_regret(tmp_path, capsys):
    """Two runs of one method with other seeds are one group; figures by NumPy."""
    random, known = np.random.default_rng(0), {}

    def of_epoch(epoch, folder):
        known[folder, epoch] = float(random.uniform(0.6, 0.9))
        return known[folder, epoch]

    make_run(tmp_path / "a", settings=config(seed=None, seeds=(0, 1)))
    make_run(tmp_path / "b", settings=config(seed=5))
    make_run(tmp_path / "n", settings=config(method=NaspConfig(), seed=0))
    add_columns(tmp_path, known_accuracies(of_epoch))
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
    # Of NASP there is one seed: no test tells it from anything.
    assert "(Welch's tests, p by Holm's rule for 1 pair): none." in printed
    assert "The order of them may be luck." in printed
    page = (tmp_path / "a" / "regret.html").read_text()
    assert "<script" not in page and "mean random cell" in page
