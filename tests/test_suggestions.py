"""What a user of other programs writes is answered with what it is called here."""

import dataclasses
import re
from pathlib import Path

import pytest

from jdarts import METHODS, SPACES, ZOO, UserError
from jdarts.cli import parse_search
from jdarts.comparisons.arguments import CompareOptions
from jdarts.config import load_config
from jdarts.cost import CostOptions
from jdarts.errors import nearest, unknown_choice, unknown_option
from jdarts.export import ExportOptions
from jdarts.hypergradient import HYPERGRADIENTS
from jdarts.options import check_options, option_types
from jdarts.synonyms import ADVICE, FLAGS, VALUES, fold
from jdarts.train_cli import parse_train
from jdarts.train_config import load_recipe

OWN = {"--run-dir", "--method", "--checkpoint", "--data.eval-only"}
SEARCH = {
    *option_types(load_config("digits")),
    *(f for row in METHODS.values() for f in option_types(row.config(), "--method.")),
    *OWN,
}
TEXT = {*option_types(load_config("rnn_demo")), *OWN}
TRAIN = {*option_types(load_recipe("train_cifar10")), *OWN}
OTHERS = {
    f"--{field.name.replace('_', '-')}"
    for kind in (CompareOptions, CostOptions, ExportOptions)
    for field in dataclasses.fields(kind)
}


def said(parse, line):
    with pytest.raises(UserError) as caught:
        parse(line.split())
    text = str(caught.value)
    assert "\n" not in text
    return text


# --- options ---

# Of DARTS' search and training, RobustDARTS, AutoDL-Projects, and usual ones.
PEERS = {
    "--learning_rate 0.025": "--method.weights.lr",
    "--learning-rate=0.025": "--method.weights.lr",
    "--lr 0.1": "--method.weights.lr",
    "-lr 0.1": "--method.weights.lr",
    "--learning_rate_min 0.001": "--method.weights.lr-min",
    "--momentum 0.9": "--method.weights.momentum",
    "--weight_decay 3e-4": "--method.weights.weight-decay",
    "--grad_clip 5": "--method.weights.clip",
    "--arch_learning_rate 3e-4": "--method.arch.lr",
    "--arch_weight_decay 1e-3": "--method.arch.weight-decay",
    "--unrolled": "--method.hypergradient.name unrolled",
    "--init_channels 16": "--channels",
    "--batchsize 64": "--batch-size",
    "--BATCH_SIZE 64": "--batch-size",
    "--report_freq 50": "--log-every",
    "--cutout": "--data.cutout",
    "--cutout_length 16": "--data.cutout",
    "--drop_path_prob 0.3": "--drop-path.rate",
    "--save EXP": "--run-dir",
    "--train_portion 0.5": "--data.valid-fraction",
    "--set cifar100": "--data.name",
    "--dataset cifar10": "--data.name",
    "--data ../data": "--data.dir",
    "--data_path ../data": "--data.dir",
    "--nodes 4": "--space",
    "--random_seed 3": "--seed",
    "--num_epochs 50": "--epochs",
    "--iterations 100": "--steps",
    "--bf16": "--compute-dtype bfloat16",
    "--weights.lr 3": "--method.weights.lr",
    "--widht 3": "--channels",
    "--gpu 0": "CUDA_VISIBLE_DEVICES",
    "--workers 4": "images lie on the device",
    "--resume": "the same command on the same folder",
    "--auxiliary": "jdarts train",
}


@pytest.mark.parametrize("line, meant", PEERS.items(), ids=PEERS)
def test_options_of_other_programs(line, meant):
    text = said(parse_search, line)
    written = re.split("[ =]", line)[0]
    assert text.startswith(f"option: unknown '{written}'; ")
    assert f"did you mean '{meant}'" in text if meant.startswith("-") else meant in text


@pytest.mark.parametrize(
    "line, meant",
    [
        ("--learning_rate 3", "--optimizer.lr"),
        ("--weight_decay 3", "--optimizer.weight-decay"),
        ("--drop_path_prob 0.2", "--drop-path"),
        ("--auxillary", "--auxiliary"),
        ("--model_path x", "--checkpoint"),
        ("--arch DARTS", "the first word"),
    ],
)
def test_in_trainings_they_mean_other_fields(line, meant):
    assert meant in said(parse_train, f"DARTS_V2 {line}")


def test_an_option_is_found_by_its_last_part():
    assert "'--method.weights.lr' or '--method.arch.lr'?" in said(
        parse_search, "--lr 1"
    )
    assert "'--method.hypergradient.radius'" in said(parse_search, "--radius 1")


@pytest.mark.parametrize("name", FLAGS)
def test_every_row_of_the_table_leads_to_an_option(name):
    assert name == fold(name)
    for option in re.findall(r"--[^ ]+", FLAGS[name]):
        assert option in SEARCH | TEXT | TRAIN | OTHERS | {"--data.resize"}, option


@pytest.mark.parametrize("name", ADVICE)
def test_advice_is_given_where_nothing_fits(name):
    text = str(unknown_option(f"--{name}", {"--run-dir"}))
    assert ADVICE[name] in text and name == fold(name)


def test_what_means_nothing_suggests_nothing():
    assert said(parse_search, "--foo 3") == (
        "option: unknown '--foo'; see --help for all"
    )


# --- rows of tables ---


@pytest.mark.parametrize(
    "found, table, meant",
    [
        ("second_order", HYPERGRADIENTS, "unrolled"),
        ("Second-Order", HYPERGRADIENTS, "unrolled"),
        ("first", HYPERGRADIENTS, "first_order"),
        ("fd", HYPERGRADIENTS, "finite_difference"),
        ("darts_v2", ZOO, "DARTS_V2"),
        ("DARTS-V2", ZOO, "DARTS_V2"),
        ("dartsv1", ZOO, "DARTS_V1"),
        ("PCDARTS", METHODS, "pc_darts"),
        ("pc-darts", METHODS, "pc_darts"),
        ("random_search", METHODS, "random"),
        ("NASBench201", SPACES, "nas_bench_201"),
        ("nb201", SPACES, "nas_bench_201"),
        ("darts", SPACES, "darts_cnn"),
        ("toi", SPACES, "toy"),
    ],
)
def test_rows_by_meaning(found, table, meant):
    assert nearest(found, list(table)) == [meant]
    assert f"did you mean '{meant}'?" in str(unknown_choice("x", found, table))


@pytest.mark.parametrize("name", VALUES)
def test_names_of_others_are_no_names_of_ours(name):
    """A row that is spelt right is never taken for another one."""
    assert name == fold(name)
    for table in (HYPERGRADIENTS, METHODS, SPACES, ZOO):
        for own in table:
            assert nearest(own, list(table)) == [own]


def test_a_hypergradient_is_no_method():
    text = said(parse_search, "--method second_order")
    assert "expected --method.hypergradient.name unrolled" in text


# --- values ---


@pytest.mark.parametrize(
    "line, text",
    [
        ("--epochs ten", "--epochs: found 'ten', expected a whole number"),
        ("--epochs 2.5", "--epochs: found '2.5', expected a whole number"),
        ("--epochs=", "--epochs: found '', expected a whole number"),
        ("--epochs", "--epochs: no value given; expected a whole number"),
        ("--epochs 3 4", "--epochs: found '3 4', expected a whole number"),
        ("--data.valid-fraction half", "found 'half', expected a number"),
        ("--seeds 1 b", "--seeds: found 'b', expected whole numbers"),
        ("--steps none", "--steps: found 'none', expected a whole number (leave"),
        ("--remat true", "found 'true', expected no value; --no-remat says"),
        ("--data.flip no", "found 'no', expected no value; --data.no-flip says"),
        ("--data.no-flip 1", "found '1', expected no value; --data.flip says"),
        ("--method.weights.lr=a", "--method.weights.lr: found 'a', expected a number"),
        ("smoke digits", "found 'digits'; expected an option here"),
    ],
)
def test_values_say_what_was_found_and_expected(line, text):
    assert text in said(parse_search, line)


def test_values_that_are_right_pass():
    config = parse_search(
        "smoke --seeds 1 2 --steps None --data.limit 64 --method.weights.lr 1e-1 "
        "--method.arch.weight-decay -0".split()
    ).config
    assert (config.seeds, config.steps, config.data.limit) == ((1, 2), None, 64)


@dataclasses.dataclass(frozen=True)
class Sized:
    """Options with all kinds of values."""

    image: tuple[int, int, int] = (1, 2, 3)
    runs: tuple[Path, ...] = ()
    word: str = ""
    ready: bool = False


@pytest.mark.parametrize(
    "line, text",
    [
        ("--image 1 2", "--image: found '1 2'; expected 3 whole numbers"),
        ("--image 1 2 x", "--image: found 'x', expected 3 whole numbers"),
        ("--image", "--image: no value given; expected 3 whole numbers"),
        ("--word", "--word: no value given; expected a word"),
        ("--ready yes", "--ready: found 'yes', expected no value"),
        ("--image 1 2 3 RUN --ready RUN --runs a b", None),
    ],
)
def test_words_of_the_command_may_stand_behind_values(line, text):
    if text is None:
        check_options(line.split(), option_types(Sized), positionals=True)
        with pytest.raises(UserError, match="found '1 2 3 RUN'"):
            check_options(line.split(), option_types(Sized))
    else:
        with pytest.raises(UserError, match=re.escape(text)):
            check_options(line.split(), option_types(Sized), positionals=True)


@pytest.mark.parametrize("kind", [CompareOptions, CostOptions, ExportOptions, Sized])
def test_only_what_is_true_or_false_has_an_opposite(kind):
    kinds = option_types(kind)
    for field in dataclasses.fields(kind):
        opposite = f"--no-{field.name.replace('_', '-')}"
        if isinstance(field.default, bool):
            check_options([opposite], kinds)
        else:
            with pytest.raises(UserError, match=f"option: unknown '{opposite}'"):
                check_options([opposite], kinds)


def test_float16_is_another_type_than_bfloat16():
    for option in ("--fp16", "--half"):
        assert "no float16 here" in said(parse_search, f"smoke {option}")
    text = said(parse_search, "smoke --compute-dtype half")
    assert "did you mean" not in text and "bfloat16" in text  # it is in the list
