"""From a configuration to what is compiled: every option arrives where it belongs.

Nothing is compiled: what the builders are given is noted, and what they made is read.
"""

import dataclasses
import itertools
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from train_runs import GENOTYPE

from jdarts import ZOO, UserError, get_space
from jdarts.cli import parse_search
from jdarts.data import baselines, halves
from jdarts.loops import setup as search_setups
from jdarts.loops import text_setup as text_setups
from jdarts.loops import text_train_setup as text_train_setups
from jdarts.loops import train_setup as train_setups
from jdarts.loops.pinned import check_pinned, pinned_data
from jdarts.loops.setup import setup
from jdarts.loops.text_setup import text_setup
from jdarts.loops.text_train_setup import text_train_setup
from jdarts.loops.train_setup import train_setup
from jdarts.program_store import program_key
from jdarts.spaces.random import random_genotype
from jdarts.text_train_config import TextTrainConfig
from jdarts.train_config import TrainConfig, load_recipe

IMAGES, EPOCHS = 24, 5


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    """Colour images of two classes in blocks, so that every part has its own share."""
    rng = np.random.default_rng(0)
    labels = np.array([0, 0, 1] * 4 + [0, 1, 1, 1] * 3)
    arrays = {
        "train_images": rng.integers(0, 256, (IMAGES, 32, 32, 3), np.uint8),
        "train_labels": labels,
        "test_images": rng.integers(0, 256, (9, 32, 32, 3), np.uint8),
        "test_labels": np.arange(9) % 2,
    }
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, **arrays)
    return path, arrays


@pytest.fixture
def noted(monkeypatch):
    """``noted(module, name)``: the list of what a builder is then given."""

    def note(module, name):
        original, calls = getattr(module, name), []

        def builder(*args, **options):
            calls.append((args, options))
            return original(*args, **options)

        monkeypatch.setattr(module, name, builder)
        return calls

    return note


def search(npz, *words):
    words = ["smoke", *words, "--data.name", "npz", "--data.dir", str(npz[0])]
    words += ["--channels", "2", "--layers", "1", "--batch-size", "4"]
    words += ["--epochs", str(EPOCHS), "--data.split", "file_order"]
    # `smoke` limits its images.
    return parse_search([*words, "--data.limit", str(IMAGES)]).config


EVERYTHING = (
    "--data.valid-fraction 0.25 --drop-path.rate 0.4 --compute-dtype bfloat16 --remat "
    "--stem imagenet --hardware.cost parameters --hardware.weight 2.5 "
    "--method.hypergradient.name first_order"
).split()


def test_every_option_of_a_search(npz, noted):
    networks = noted(search_setups, "make_supernet")
    methods = noted(search_setups, "build_method")
    config = search(npz, *EVERYTHING)
    start = setup(config)
    ((method, space), options), *_ = networks
    assert (method, space.name) == (config.method, "toy")
    drop_rate = options.pop("drop_rate")
    assert options == {
        "channels": 2,
        "layers": 1,
        "stem": "imagenet",
        "classes": 2,
        "remat": True,
        "dtype": jnp.bfloat16,
    }
    # 18 images in batches of 4; drop path from 0 to 0.4 in 5 epochs.
    assert start.steps_per_epoch == 4
    rates = [float(drop_rate(jnp.int32(step)).path) for step in (0, 3, 4, 19)]
    assert rates == pytest.approx([0, 0, 0.1, 0.4])
    ((_, _, network), length), *_ = methods
    assert length == {"epochs": EPOCHS, "steps_per_epoch": 4}
    # At its start the price is the weight times one.
    mix = start.method.weights(start.state.arch)
    assert float(network.price(mix, mix)) == pytest.approx(2.5, rel=1e-3)
    assert network is start.network
    row = start.known(start.method.discretize(start.state.arch), mix)
    assert row and all(np.isfinite(list(row.values())))


def test_no_option_of_a_search(npz, noted):
    networks = noted(search_setups, "make_supernet")
    config = search(npz, "--hardware.cost", "parameters")
    start = setup(config)
    (_, options), *_ = networks
    assert options["drop_rate"] is None and options["dtype"] is None
    assert not options["remat"] and options["stem"] == "cifar"
    assert start.network.price is None  # it is only written down


@pytest.mark.parametrize("priced", [[], ["--hardware.cost", "parameters"]])
def test_images_that_are_too_small(priced):
    """Are refused before the cost of a network is counted."""
    config = parse_search(["smoke", "--stem", "imagenet", *priced]).config
    with pytest.raises(UserError, match="images: 8 x 8 pixels; .*resize 32 32"):
        setup(config)


def test_the_first_half_trains_the_weights(npz):
    _, arrays = npz
    start = setup(search(npz, "--data.valid-fraction", "0.25"))
    np.testing.assert_array_equal(start.data.train, np.arange(18))
    np.testing.assert_array_equal(np.sort(start.data.valid), np.arange(18, 24))
    np.testing.assert_array_equal(start.data.images, arrays["train_images"])
    np.testing.assert_array_equal(start.data.labels, arrays["train_labels"])
    assert (start.valid_count, start.evaluations) == (6, 2)
    held = arrays["train_labels"][18:]
    expected = max(np.mean(held == 0), np.mean(held == 1))
    assert start.baselines == [{"majority_accuracy": pytest.approx(expected)}]
    assert start.seconds and set(start.pinned) >= {"--table", "--data.dir"}


def test_a_program_has_a_name_of_its_own(npz, unchecked_shapes):
    """Of other settings another one; without a name nothing would be kept."""
    keys = []
    for lr in ("0.1", "0.2"):
        words = ["--method.weights.lr", lr]
        words += ["--method.hypergradient.name", "first_order"]
        config = search(npz, *words)
        start = setup(config)
        chunk, evaluation = start.programs(config)
        number = start.seeds.number(1)
        keys += [
            program_key(chunk, (start.key, start.state, start.data, number), {}),
            program_key(evaluation, (start.state, start.data, number, number), {}),
        ]
    assert None not in keys and keys[0] != keys[2] and keys[0] != keys[1]


def test_a_table_is_read(tmp_path):
    names = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
    ops = np.array(list(itertools.product(range(5), repeat=6)), np.uint8)
    test = np.random.default_rng(0).uniform(10, 90, len(ops)) ** 1.0
    columns = {"op_names": np.array(names), "ops": ops}
    columns |= {"c10_val_200": test - 5, "c10_test_200": test}
    path = tmp_path / "table.npz"
    np.savez(path, **columns)
    words = "smoke --space nas_bench_201 --channels 2 --layers 3 --batch-size 8"
    config = parse_search([*words.split(), "--table", str(path)]).config
    start = setup(config)
    (row,) = start.baselines
    assert row["table_mean_test_accuracy"] == pytest.approx(test.mean() / 100)
    assert row["table_best_test_accuracy"] == pytest.approx(test.max() / 100)
    expected = (test.max() - test.mean()) / 100
    assert row["random_regret"] == pytest.approx(expected)
    genotype = random_genotype(get_space("nas_bench_201"), np.random.default_rng(1))
    known = start.known(genotype, {})
    found = known["table_test_accuracy"]
    assert np.isclose(test / 100, found).any()
    assert known["regret"] == pytest.approx(test.max() / 100 - found)


# --- what may not change ---


def test_data_of_ones_own_are_pinned(npz, tmp_path):
    images = setup(search(npz)).images
    assert pinned_data(None, images) == {}  # what comes with jdarts
    pins = pinned_data(npz[0], images)
    assert pins == {"--data.dir": images.digest}
    check_pinned(pins, dict(pins), tmp_path, "the same")
    check_pinned({}, pins, tmp_path, "the same")  # of an older version
    with pytest.raises(UserError, match="--data.dir: its contents have changed"):
        check_pinned({"--data.dir": "another"}, pins, tmp_path, "the same")


@pytest.mark.parametrize("part", ["train", "test"])
def test_every_pixel_and_label_is_in_the_digest(npz, part):
    images = setup(search(npz)).images
    digests = [images.digest]
    for name in (f"{part}_images", f"{part}_labels"):
        array = np.array(getattr(images, name))
        array[-1] = (array[-1] + 1) % 2
        changed = dataclasses.replace(images, **{name: array})
        digests.append(changed.digest)
    digests.append(dataclasses.replace(images, mean=(0.1, 0.2, 0.3)).digest)
    digests.append(dataclasses.replace(images, class_names=("a", "b")).digest)
    assert len(set(digests)) == len(digests)


# --- trainings ---


def training(npz, **changes):
    data = dataclasses.replace(
        load_recipe("train_images").data, name="npz", dir=npz[0], crop_padding=1
    )
    sizes = {"channels": 2, "layers": 2, "auxiliary": False, "batch_size": 4}
    return TrainConfig(**sizes | {"epochs": EPOCHS, "data": data} | changes)


def test_every_option_of_a_training(npz, noted):
    """All fields of a recipe, none of them as by default."""
    networks = noted(train_setups, "fixed_network")
    trainers = noted(train_setups, "make_trainer")
    optimizer = dataclasses.replace(TrainConfig().optimizer, lr=0.125)
    config = training(
        npz,
        stem="cifar",
        auxiliary=True,
        auxiliary_weight=0.75,
        drop_path=0.3,
        label_smoothing=0.125,
        average_decay=0.5,
        remat=True,
        scan=True,
        compute_dtype="bfloat16",
        optimizer=optimizer,
    )
    start = train_setup(config, GENOTYPE)
    ((genotype,), options), *_ = networks
    assert genotype == GENOTYPE
    assert options == {
        "channels": 2,
        "layers": 2,
        "classes": 2,
        "stem": "cifar",
        "auxiliary": True,
        "scan": True,
        "remat": True,
        "dtype": jnp.bfloat16,
    }
    ((_, settings, per_epoch), _), *_ = trainers
    assert per_epoch == start.steps_per_epoch == 6
    assert dataclasses.asdict(settings) == {
        "optimizer": dataclasses.asdict(optimizer),
        "epochs": EPOCHS,
        "auxiliary_weight": 0.75,
        "drop_path": 0.3,
        "label_smoothing": 0.125,
        "average_decay": 0.5,
    }


def test_trained_on_all_training_images_and_judged_by_the_test_images(npz):
    _, arrays = npz
    data = train_setup(training(npz), GENOTYPE).data
    np.testing.assert_array_equal(data.images, arrays["train_images"])
    np.testing.assert_array_equal(data.labels, arrays["train_labels"])
    np.testing.assert_array_equal(data.train, np.arange(IMAGES))
    np.testing.assert_array_equal(data.held_images, arrays["test_images"])
    np.testing.assert_array_equal(data.held_labels, arrays["test_labels"])
    np.testing.assert_array_equal(data.held, np.arange(9))


def test_judged_by_a_part_of_the_training_images(npz):
    _, arrays = npz
    config = training(npz, evaluate_on="valid")
    start = train_setup(config, GENOTYPE)
    data = start.data
    train, held = halves(config.data, start.images, 0)
    np.testing.assert_array_equal(data.train, train)
    np.testing.assert_array_equal(data.held, held)
    assert sorted([*train, *held]) == list(range(IMAGES))
    for name in ("images", "held_images"):
        np.testing.assert_array_equal(getattr(data, name), arrays["train_images"])
    for name in ("labels", "held_labels"):
        np.testing.assert_array_equal(getattr(data, name), arrays["train_labels"])


# --- texts ---


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Parts that are not alike."""
    file = tmp_path_factory.mktemp("text") / "text.txt"
    file.write_text("one two three one two four\n" * 90 + "four two four\n" * 12)
    return str(file)


RATES = dict(output=0.125, hidden=0.25, input=0.375, embedded=0.5, word=0.0625)


def dropouts():
    return [word for n, r in RATES.items() for word in (f"--dropout.{n}", str(r))]


def check_text_options(models, networks):
    (_, network), *_ = networks
    assert network["units"] == 6
    assert dataclasses.asdict(network["dropout"]) == RATES
    ((_, rate), model), *_ = models
    assert model == {"activation": 0.5, "slowness": 0.25}
    assert float(rate(jnp.int32(0))) > 0


TEXT = (
    "--units 6 --length 6 --batch-size 4 --evaluation-batch 3 --data.name file "
    "--epochs 4 --activation 0.5 --slowness 0.25"
).split()


def test_every_option_of_a_text_search(text, noted):
    models = noted(text_setups, "language_model")
    networks = noted(text_setups, "mixed_recurrent")
    words = ["rnn_demo", "--space", "toy_rnn", *TEXT, "--data.dir", text]
    words += ["--data.level", "word"]
    start = text_setup(parse_search([*words, *dropouts()]).config)
    check_text_options(models, networks)
    tokens = start.text.parts
    for part in ("train", "valid"):
        table = np.asarray(getattr(start.data, part))
        rows = len(tokens[part]) // 4
        expected = tokens[part][: 4 * rows].reshape(4, rows).T
        np.testing.assert_array_equal(table, expected)
    rows = len(tokens["valid"]) // 3
    expected = tokens["valid"][: 3 * rows].reshape(3, rows).T
    np.testing.assert_array_equal(start.data.held[: start.rows], expected)
    assert start.rows == rows and not np.asarray(start.data.held)[rows:].any()
    check_counted(start.baselines[0], start.text, "valid")
    assert start.pinned == {"--data.dir": start.text.digest}


def check_counted(found, text, part):
    counts = {
        p: baselines(text.train, t, len(text.vocabulary)) for p, t in text.parts.items()
    }
    assert len({c.unigram for c in counts.values()}) == 3
    assert found == {
        "majority_accuracy": counts[part].majority,
        "unigram_perplexity": counts[part].unigram,
        "bigram_perplexity": counts[part].bigram,
    }


def test_every_option_of_a_text_training(text, noted):
    models = noted(text_train_setups, "language_model")
    networks = noted(text_train_setups, "fixed_recurrent")
    trainers = noted(text_train_setups, "make_text_trainer")
    usual = load_recipe("train_text")
    config = TextTrainConfig(
        units=6,
        length=6,
        batch_size=4,
        evaluation_batch=3,
        test_batch=2,
        deviation=1.0,
        epochs=4,
        activation=0.5,
        slowness=0.25,
        dropout=dataclasses.replace(usual.dropout, **RATES),
        optimizer=dataclasses.replace(usual.optimizer, lr=7.0),
        data=dataclasses.replace(usual.data, dir=Path(text)),
    )
    start = text_train_setup(config, ZOO["RNN_DARTS_V2"])
    check_text_options(models, networks)
    ((_, optimizer), length), *_ = trainers
    assert optimizer == config.optimizer
    assert length == {"epochs": 4, "per_epoch": start.steps_per_epoch}
    tokens = start.text.parts
    for name, part, size, rows in (
        ("train", "train", 4, None),
        ("held", "valid", 3, start.rows[0]),
        ("test", "test", 2, start.rows[1]),
    ):
        count = len(tokens[part]) // size
        expected = tokens[part][: size * count].reshape(size, count).T
        found = np.asarray(getattr(start.data, name))[:rows]
        np.testing.assert_array_equal(found, expected, err_msg=part)
    for found, part in zip(start.baselines, ("valid", "test"), strict=True):
        check_counted(found, start.text, part)


def test_a_text_is_in_its_digest(text):
    config = TextTrainConfig().data
    config = dataclasses.replace(config, name="file", dir=Path(text))
    whole = text_train_setups.load_text(config)
    digests = [whole.digest]
    for part in ("train", "valid", "test"):
        tokens = np.array(whole.parts[part])
        tokens[-1] = (tokens[-1] + 1) % 4
        digests.append(dataclasses.replace(whole, **{part: tokens}).digest)
    assert len(set(digests)) == 4
