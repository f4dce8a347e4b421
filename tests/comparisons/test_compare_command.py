"""``python -m jdarts.compare``: what it trains, writes, resumes and refuses."""

import functools
import json
from types import SimpleNamespace

import numpy as np
import pytest
from runs import genotype, toy_config, write_search, write_seeds

from jdarts import Genotype
from jdarts.cli import run_command
from jdarts.compare import main
from jdarts.loops.train_record import EpochScore, TrainResult
from jdarts.spaces.random import random_genotype_of_size
from jdarts.statistics import compare

SMALL = "--channels 2 --layers 3 --batch-size 32 --epochs 1".split()


@pytest.fixture
def searches(tmp_path, monkeypatch):
    """A search of two seeds, in the current folder."""
    monkeypatch.chdir(tmp_path)
    config = toy_config(seed=None, seeds=(3, 5))
    epochs = [[genotype(0), genotype(1)], [genotype(2), genotype(3)]]
    write_seeds(tmp_path / "two", config, epochs)
    return tmp_path


class FakeTraining:
    """Stands in for trainings: accuracies from the name, a record of the calls.

    Attributes:
      trained: the names of the networks, in order.
      configs: of each training.
      stop_at: the number of the training that a signal stops.
    """

    def __init__(self):
        self.trained, self.configs, self.stop_at = [], [], None

    def setup(self, config, genotype):
        return SimpleNamespace(genotype=genotype)

    def run(self, config, start, folder, say):
        if len(self.trained) == self.stop_at:
            return [], 143
        self.trained.append(config.name)
        self.configs.append(config)
        assert json.loads(folder.config.read_text())["genotype"]
        return [self.result(config, seed, start) for seed in config.all_seeds], 0

    def result(self, config, seed, start):
        score = EpochScore(1, 0.5, self.accuracy(config.name, seed), 1.0)
        best = EpochScore(1, 0.5, 0.99, 1.0)  # optimistic: must not be used
        return TrainResult(
            name=config.name,
            seed=seed,
            genotype=start.genotype,
            parameters=1,
            evaluated_on="test",
            images=360,
            majority=0.1,
            steps=1,
            last=score,
            best=best,
        )

    @staticmethod
    def accuracy(name, seed):
        return (0.9 if name.startswith("search") else 0.8) + seed / 1000


@pytest.fixture
def fake(monkeypatch):
    training = FakeTraining()
    module = "jdarts.comparisons.trainings"
    monkeypatch.setattr(f"{module}.train_setup", training.setup)
    monkeypatch.setattr(f"{module}.run_training", training.run)
    return training


def test_trains_both_sides_alike_and_compares(searches, fake, capsys):
    arguments = ["two", "--random", "6", "--retrainings", "3", "--tolerance", "0.2"]
    assert main([*arguments, *SMALL, "--progress", "1"]) == 0
    names = ["search_0", *(f"random_{i}" for i in (0, 2, 4))]
    names += ["search_1", *(f"random_{i}" for i in (1, 3, 5))]
    assert fake.trained == [*names, "search_0_epoch_1", "search_1_epoch_1"]
    for config in fake.configs:
        assert config.all_seeds == (0, 1, 2)  # paired: the same on both sides
        assert (config.channels, config.layers, config.epochs) == (2, 3, 1)
        assert (config.data.name, config.data.limit) == ("digits", 96)
    found = json.loads((searches / "two" / "compare" / "compare.json").read_text())
    own, chance = ([fake.accuracy(n, s) for s in range(3)] for n in ("search", "r"))
    expected = compare(np.array([own] * 2), np.array([[chance] * 3] * 2))
    assert found["sentence"] == expected.sentence()
    assert found["comparison"]["p"] == expected.p == 2 / 16
    assert found["searches"][1]["seed"] == 5
    assert Genotype.from_json(found["searches"][1]["genotype"]) == genotype(3)
    assert found["progress"][0]["mean"] == pytest.approx(np.mean(own))
    assert found["train"]["channels"] == 2 and found["random"]["mean"]
    text = (searches / "two" / "compare" / "summary.txt").read_text()
    assert text.splitlines()[-1] == expected.sentence()
    assert "2 searches and 6 random genotypes; each network trained 3 times" in text
    assert text in capsys.readouterr().out


def test_goes_on_where_it_was_stopped(searches, fake, capsys):
    arguments = ["two", "--random", "2", "--retrainings", "2", *SMALL]
    fake.stop_at = 2
    assert main(arguments) == 143
    out = capsys.readouterr().out
    assert "2 of 4 networks trained" in out and "two/compare" in out
    folder = searches / "two" / "compare"
    assert not (folder / "compare.json").exists()
    fake.stop_at, first = None, list(fake.trained)
    assert main(arguments) == 0
    assert fake.trained[:2] == first and len(set(fake.trained)) == 4
    written = (folder / "compare.json").read_bytes()
    fake.stop_at = 0  # nothing is trained again
    assert main(arguments) == 0
    assert (folder / "compare.json").read_bytes() == written


def test_equal_networks_are_trained_once(searches, fake):
    write_search(searches / "one", toy_config(seed=9), [genotype(3)])
    write_search(searches / "other", toy_config(seed=8), [genotype(3)])
    assert main(["one", "other", "--random", "2", *SMALL, "--run-dir", "c"]) == 0
    assert fake.trained == ["search_0", "random_0", "random_1"]


def refusal(capsys, arguments):
    capsys.readouterr()
    assert run_command(main, arguments.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("error: "), err
    return err


@pytest.mark.parametrize(
    "arguments, parts",
    [
        ("", ["no search given", "RUN"]),
        ("none", ["none: no such folder"]),
        (".", ["holds no config.json"]),
        ("going", ["going: the search is not finished", "--allow-unfinished"]),
        ("two going", ["the search is not finished"]),
        ("two cnn", ["cnn: space 'darts_cnn'", "'toy'"]),
        ("two fewer", ["fewer: --data.limit 90", "96"]),
        ("two two/seed_3", ["two/seed_3: given twice"]),
        ("two --random 1", ["--random: 1; expected at least 2"]),
        ("two --random 3", ["--random: 3 cannot be divided evenly", "2 or 4"]),
        ("two --retrainings 0", ["--retrainings: 0", "at least 1"]),
        ("two --tolerance -1", ["--tolerance: -1.0"]),
        ("two --random-seed -1", ["--random-seed: -1"]),
        ("two --match parameter", ["--match", "did you mean 'parameters'?"]),
        ("two --progress 7", ["--progress", "no genotype of epoch 7", "1 to 2"]),
        ("two --recipe train_digit", ["did you mean 'train_digits'?"]),
        ("two --retraining 3", ["'--retraining'", "did you mean '--retrainings'?"]),
        ("two --epoch 3", ["'--epoch'", "did you mean '--epochs'?"]),
        ("two --epochs 0", ["--epochs: 0", ">= 1"]),
        ("two --channels 0", ["--channels: 0", ">= 1"]),
        ("two --batch-size 1000", ["--batch-size: 1000", "96"]),
        ("two --seeds 1 2", ["--seeds: has no effect", "--retrainings"]),
        ("two --seed 1", ["--seed: has no effect", "--random-seed"]),
        ("two --name x", ["--name: has no effect", "--run-dir"]),
        ("two --run-dir two", ["two: made with another configuration"]),
        ("two --tolerance 0 --random 400", ["--tolerance: 0.0; none of"]),
    ],
)
def test_refused(arguments, parts, searches, fake, capsys, monkeypatch):
    few = functools.partial(random_genotype_of_size, tries=300)
    monkeypatch.setattr("jdarts.comparisons.plan.random_genotype_of_size", few)
    write_search(searches / "going", toy_config(), [genotype(0)], finished=False)
    write_search(searches / "cnn", toy_config(space="darts_cnn"), [genotype(0)])
    data = toy_config().data.__class__(name="digits", limit=90)
    write_search(searches / "fewer", toy_config(data=data), [genotype(0)])
    before = sorted(searches.rglob("*"))
    err = refusal(capsys, arguments)
    assert all(part in err for part in parts), err
    new = {path.name for path in set(searches.rglob("*")) - set(before)}
    assert new <= {".lock"} and not fake.trained


def test_other_settings_do_not_go_on(searches, fake, capsys):
    assert main(["two", "--random", "2", *SMALL]) == 0
    err = refusal(capsys, " ".join(["two", "--random", "4", *SMALL]))
    assert "random: 4 here, 2 in the folder" in err
    err = refusal(capsys, " ".join(["two", "--random", "2", *SMALL, "--epochs", "2"]))
    assert "train.epochs: 2 here, 1 in the folder" in err


@pytest.mark.parametrize("named", [[], ["--recipe", "train_images"]])
def test_a_data_set_without_recipe(searches, capsys, fake, named):
    """The general recipe, of the search's size; judged by images that no search saw."""
    images = np.random.default_rng(0).integers(0, 256, (96, 8, 8, 1), np.uint8)
    own = {"train_images": images, "train_labels": np.arange(96) % 3}
    np.savez(searches / "x.npz", **own)
    data = toy_config().data.__class__(
        name="npz", dir=searches / "x.npz", crop_padding=1, flip=False
    )
    sizes = {"channels": 2, "layers": 3, "batch_size": 16, "data": data}
    write_search(searches / "own", toy_config(**sizes), [genotype(0)])
    arguments = ["own", "--random", "2", *named]
    err = refusal(capsys, " ".join(arguments))
    assert "--evaluate-on: valid: the searches have learnt from these images" in err
    assert "expected --evaluate-on test, and data with test images (here 0)" in err
    assert not fake.trained and not (searches / "own" / "compare").exists()
    tests = {"test_images": images[:9], "test_labels": np.arange(9) % 3}
    np.savez(searches / "x.npz", **own, **tests)
    assert "--evaluate-on: valid: the" in refusal(
        capsys, " ".join([*arguments, "--evaluate-on", "valid"])
    )
    assert run_command(main, arguments) == 0
    assert "accuracy on npz, test images, after" in capsys.readouterr().out
    for config in fake.configs:
        assert (config.channels, config.layers, config.epochs) == (4, 3, 9)
        assert config.data.dir == searches / "x.npz" and config.evaluate_on == "test"


def test_with_real_trainings(searches):
    """One search against two random genotypes, each trained with two seeds."""
    arguments = ["two/seed_5", "--random", "2", "--retrainings", "2", *SMALL]
    assert main([*arguments, "--run-dir", "c"]) == 0
    found = json.loads((searches / "c" / "compare.json").read_text())
    (search,) = found["searches"]
    for row in (search, *search["random"]):
        assert len(row["accuracies"]) == 2
        own = searches / "c" / "trainings" / row["network"]
        results = json.loads((own / "result.json").read_text())["runs"]
        assert [r["last"]["top1"] for r in results] == row["accuracies"]
        assert [r["parameters"] for r in results] == [row["parameters"]] * 2
        assert (own / "seed_0" / "metrics.jsonl").exists()
    assert found["verdict"] == "cannot tell"
