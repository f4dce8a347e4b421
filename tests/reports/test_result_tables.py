"""What trainings and comparisons came to, in their own reports and in the search's."""

import json
import re
import shlex

import numpy as np
import pytest
from folders import make_comparison, recipe
from pages import Page

from jdarts import ZOO, load_genotype
from jdarts.loops.tally import Tally
from jdarts.reports import write_report
from jdarts.reports.classes import classes
from jdarts.reports.command import train_command
from jdarts.train_cli import parse_train


@pytest.fixture(scope="module")
def text(reports):
    """``text(name)``: the words of a report."""
    return lambda name: Page(reports[name].read_text()).text


def test_a_training(text):
    found = text("training")
    assert "Finished training: 3 cells of 8 channels on digits." in found
    assert "Test accuracy 50.00 % after the last epoch; always" in found
    assert "class: 12.50 %" in found and "Parameters 4,321" in found
    assert "training 0 test 2 4,321 50.00 87.50 1.5000 50.00 (2)" in found
    assert "training 1 test 1.5" in found  # the last losses of the legend
    assert "In all 58.50" not in found and "All 50.00 100.0" in found


def test_trainings_of_several_seeds(text):
    found = text("trainings")
    assert "Test accuracy 55.50 % after the last epoch; mean of 2 seeds" in found
    assert "deviation 3.54" in found  # of 53 and 58
    assert "trainings 3 test 2 4,321 53.00" in found
    assert "trainings 8 test 2 4,321 58.00" in found


def test_a_training_that_goes_on(text):
    found = text("begun")
    assert "Training up to epoch 1 of 2" in found
    assert "Test accuracy 25.00 % so far" in found
    assert "Not in this report The result: the training is at epoch 1 of 2" in found


def test_a_comparison(text, reports):
    found = text("comparison")
    assert found.count("Cannot tell & so on.") == 1
    assert "Difference +31.25 points 95 %: 50.00 to 75.00" in found
    assert "Effect size +2.50" in found and "Pairs won 4 of 4" in found
    assert "p 0.111 least possible: 0.05" in found
    assert "Found 62.50 9.00 3.00 12.50 95 %: 50.00 to 75.00" in found
    assert "Random 31.25 9.00 3.00 12.50 Every network" in found
    assert "runs/s0, seed 0 4,321 2.50 62.50 50.00 75.00" in found
    assert "random_1_1 4,321 2.50 37.50 25.00 50.00" in found
    # A dot for each retraining of the found, and for each random genotype.
    page = reports["comparison"].read_text()
    assert page.count('<circle class="dot s0"') == 4
    assert page.count('<circle class="dot s5"') == 4


def test_a_comparison_of_an_earlier_version(tmp_path):
    """What it called between is the deviation of means."""
    folder = tmp_path / "compare"
    make_comparison(folder)
    found = json.loads((folder / "compare.json").read_text())
    del found["found"]["of_means"]
    (folder / "compare.json").write_text(json.dumps(found))
    page = write_report(folder).read_text()
    row = re.search(r"<tr>.{0,40}>Found<.*?</tr>", page, re.DOTALL)[0]
    cells = re.findall(r">([^<>]*)</t[dh]>", row)
    assert cells[:5] == ["Found", "62.50", "3.00", "", "12.50"]


def test_a_comparison_that_goes_on(text):
    assert "not all networks are trained yet" in text("undecided")


def test_they_stand_in_the_searches_report(text):
    found = text("retrained")
    assert "again 0 test 2 4,321 50.00 87.50 1.5000 50.00 (2)" in found
    assert "1 of 2 trainings have not come to their end" in found
    assert "Comparison with chance Cannot tell & so on." in found


def parsed(command):
    python, flag, module, *arguments = shlex.split(command)
    assert (python, flag, module) == ("python", "-m", "jdarts.train")
    return parse_train(arguments)


@pytest.mark.parametrize(
    "changes", [{}, {"seed": None, "seeds": (3, 4)}, {"channels": 4, "auxiliary": True}]
)
def test_the_command_trains_the_same(reports, changes):
    file = reports["training"].parent / "genotype.json"
    genotype, config = load_genotype(str(file)), recipe(**changes)
    again = parsed(train_command(config, genotype, file))
    assert (again.config, again.genotype) == (config, genotype)


def test_a_published_genotype_has_its_name():
    command = train_command(recipe(), ZOO["DARTS_V2"], "unused")
    assert command.startswith("python -m jdarts.train DARTS_V2 train_digits --")
    assert parsed(command).genotype == ZOO["DARTS_V2"]


@pytest.mark.parametrize("size", [3, 30])
@pytest.mark.parametrize("wrong", [0, 1])
def test_counts_of_several_trainings_are_said_to_be_of_all(size, wrong):
    """Whatever is shown of them: tables of few or many classes, or that none is
    wrong."""
    names = [f"class {i}" for i in range(size)]
    tally = Tally.of(5 * np.eye(size) + wrong * np.eye(size, k=1), names)
    for count in (1, 3):
        parts = str(classes([tally] * count)).split("</table>")
        shown = [part for part in parts if re.search("class|onfusion", part)]
        assert len(shown) == 2
        for part in shown:
            assert ("of 3 trainings together" in part) == (count == 3)
