"""Tables and data of a comparison whose accuracies are given."""

import json

import numpy as np
import pytest
from runs import plan, search

from jdarts.comparisons.outcome import outcome
from jdarts.statistics import compare, summarise


@pytest.fixture(scope="module")
def made():
    """Two searches with two random genotypes each; two retrainings; two epochs."""
    searches = search(0, 1, 2), search(3, 4, 5)
    planned = plan(*searches, progress=(1, 3))
    rng = np.random.default_rng(0)
    accuracies = {
        name: [0.9 + 0.01 * rng.random(), 0.9] if "search" in name else [0.7, 0.8]
        for name in planned.networks
    }
    return outcome(searches, planned, accuracies)


def test_statistics_of_the_right_numbers(made):
    own = np.array([made.accuracies[name] for name in ("search_0", "search_1")])
    assert made.found == summarise(own)
    assert made.chance == summarise(np.array([[0.7, 0.8]] * 4))
    assert made.comparison == compare(own, np.array([[[0.7, 0.8]] * 2] * 2))
    first = [made.accuracies[f"search_{i}_epoch_1"] for i in (0, 1)]
    assert made.progress[1] == summarise(np.array(first))
    assert made.progress[3] == made.found  # the last epoch is the result


def test_data(made):
    data = json.loads(json.dumps(made.to_json()))
    assert data["verdict"] == made.comparison.verdict
    assert data["sentence"] == made.comparison.sentence()
    assert data["comparison"]["p"] == made.comparison.p
    assert data["comparison"]["interval"] is None
    assert data["found"]["mean"] == made.found.mean
    assert data["random"]["mean"] == pytest.approx(0.75)
    first = data["searches"][0]
    assert first["network"] == "search_0" and len(first["random"]) == 2
    assert first["accuracies"] == made.accuracies["search_0"]
    assert first["random"][0]["tries"] >= 1
    assert first["parameters"] == made.plan.found[0].cost.parameters
    assert [row["epoch"] for row in data["progress"]] == [1, 3]
    assert data["progress"][0]["searches"][1]["network"] == "search_1_epoch_1"


def test_text(made):
    text = made.text()
    lines = text.splitlines()
    for i in range(4):
        (line,) = [x for x in lines if f"random_{i} " in x]
        assert "70.00  80.00" in line and line.endswith("75.00")
    assert f"{100 * made.found.mean:.2f}" in text
    assert f"{100 * made.comparison.difference:+.2f} points" in text
    assert f"{made.comparison.wins:g} of {made.comparison.pairs}" in text
    assert lines[-1] == made.comparison.sentence()
    assert text.endswith("\n") and not any(x.endswith(" ") for x in lines)
    assert "genotypes of epoch" in text
    deviations = (made.found.of_means, made.found.between, made.found.within)
    (line,) = [x for x in lines if x.startswith(" found")]
    figures = [f"{100 * x:.2f}" for x in deviations]
    assert line.split()[4:7] == figures and figures[0] != figures[1]
    assert "different networks" not in text


def test_searches_that_found_one_network_count_once():
    searches = search(0), search(0)
    planned = plan(*searches)
    rng = np.random.default_rng(1)
    accuracies = {
        name: [0.9, 0.92] if "search" in name else list(0.7 + 0.1 * rng.random(2))
        for name in planned.networks
    }
    made = outcome(searches, planned, accuracies)
    assert made.found.count == 1 and made.chance.count == 4
    assert made.comparison.p == 2 / 5 and made.comparison.verdict == "cannot tell"
    assert "different networks found by the 2 searches: 1;" in made.text()


def test_one_search_has_no_interval():
    planned = plan(search(0), random=2)
    found = outcome([search(0)], planned, {name: [0.5] for name in planned.networks})
    assert found.found.interval is None and found.comparison.interval is None
    assert "none, as p cannot be below 0.67" in found.text()
    assert found.to_json()["comparison"]["interval"] is None
    assert "genotypes of epoch" not in found.text()
