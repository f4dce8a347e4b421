"""Every setting of every configuration and method, as its source has it.

Literal numbers: nothing here is computed by what is tested. A configuration is the
common settings of its kind, with those of its own row: all fields are compared.
"""

import dataclasses

import pytest

from jdarts import METHODS
from jdarts.cli import parse_search
from jdarts.config import config_names, load_config
from jdarts.loops.perturb import PerturbConfig
from jdarts.methods import name_of
from jdarts.methods.optimizers import WeightOptimizer
from jdarts.train_config import load_recipe, recipe_names


def flat(value, at=""):
    """Dotted names to values; what is ``{}`` has no fields."""
    found = {}
    for field in dataclasses.fields(value):
        own = getattr(value, field.name)
        if dataclasses.is_dataclass(own):
            found |= flat(own, f"{at}{field.name}.")
        else:
            found[at + field.name] = own
    return found


# --- methods ---

_SGD = {  # DARTS, appendix A.1.1; `train_search.py` of the authors' code
    "weights.lr": 0.025,
    "weights.lr_min": 0.001,
    "weights.momentum": 0.9,
    "weights.weight_decay": 3e-4,
    "weights.clip": 5.0,
    "weights.nesterov": False,
    "weights.weight_decay_last": None,
}
_DARTS = _SGD | {  # the same, and `architect.py`: Adam (0.5, 0.999)
    "arch.lr": 3e-4,
    "arch.b1": 0.5,
    "arch.b2": 0.999,
    "arch.weight_decay": 1e-3,
    "arch.clip": None,
    "hypergradient.name": "first_order",
    "hypergradient.steps": None,
    "hypergradient.mode": None,
    "hypergradient.radius": None,
    "hypergradient.terms": None,
    "hypergradient.scale": None,
    "warmup": 0.0,
    "clip_virtual": False,
    "simultaneous": False,
}
_SCALE = {"init_scale": 1e-3}  # `1e-3 * torch.randn` in all codes that come from DARTS
_BY_METHOD = {
    "darts": _DARTS | _SCALE | {"hypergradient.name": "unrolled"},
    # train_search.py and model_search.py of yuhuixu1993/PC-DARTS, for CIFAR-10:
    # 0.1 to 0.0, arch 6e-4, 15 of 50 epochs without alpha, K = 4.
    "pc_darts": _DARTS
    | _SCALE
    | {"weights.lr": 0.1, "weights.lr_min": 0.0, "arch.lr": 6e-4, "warmup": 0.3}
    | {"k": 4, "sample": False},
    # xujinfan/NASP-codes: the optimisers of DARTS, every alpha 0.5.
    "nasp": _DARTS | {"eta": 0.0, "rank": "softmax", "start": 0.5},
    # D-X-Y/AutoDL-Projects, GDAS.py and its configurations: tau from 10 to 0.1.
    "gdas": _DARTS
    | _SCALE
    | {"weights.weight_decay": 5e-4, "weights.nesterov": True}
    | {"tau": 10.0, "tau_min": 0.1},
    # SNAS-Series/SNAS-Series: temperature from 1 to 0.03, alpha clipped at 10.
    "snas": _DARTS
    | {"arch.clip": 10.0, "bilevel": False}
    | {"temperature": 1.0, "temperature_min": 0.03},
    # xiangning-chen/DrNAS, train_search.py: 0.1 to 0.0, arch 6e-4, 10 of 25 epochs.
    "dr_nas": _DARTS
    | _SCALE
    | {"weights.lr": 0.1, "weights.lr_min": 0.0, "arch.lr": 6e-4, "warmup": 0.4}
    | {"k": 4},
    # xiaomi-automl/FairDARTS: lr 0.005, Adam 3e-3 (0.9, 0.999), weight 10 of the 0-1
    # loss, threshold 0.85.
    "fair_darts": _DARTS
    | {"weights.lr": 0.005, "arch.lr": 3e-3, "arch.b1": 0.9}
    | {"zero_one": 10.0, "threshold": 0.85},
    # lightaime/sgas, cnn/train_search.py: warmup_dec_epoch 9, decision_freq 5 of 50.
    "sgas": _DARTS
    | _SCALE
    | {"criterion": 1, "history": None, "decide_from": 0.2, "decide_every": 0.1},
    # No code of the authors; UniNAS: 1.6 x 0.95^epoch, threshold 0.4.
    "asap": _DARTS | _SCALE | {"temperature": 1.6, "beta": 0.95, "threshold": 0.4},
    # chenxin061/pdarts: train_search.py (arch 6e-4, clip 5, 10 of 25 epochs,
    # num_to_drop 3 and 2, add_layers 0 6 12); dropout: the paper, section 4.2.
    "p_darts": _DARTS
    | _SCALE
    | {"weights.lr_min": 0.0, "arch.lr": 6e-4, "arch.clip": 5.0, "warmup": 0.4}
    | {"added_layers": (0, 6, 12), "dropped": (3, 2), "skip_decay": 0.2}
    | {"skip_dropout": (0.0, 0.4, 0.7)},
    # liamcli/randomNAS_release, darts_wrapper_discrete.py: its weight optimiser.
    "random": _SGD | {"scored": 0.1, "cells": 100},
}


def test_every_method_is_here():
    assert set(_BY_METHOD) == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_methods(name):
    assert flat(METHODS[name].config()) == _BY_METHOD[name]


# --- searches ---

_RUN = {"seeds": None, "steps": None, "log_every": 10, "checkpoint_minutes": 10.0}
_IMAGES = {  # `cnn/utils.py` of DARTS: crops of images padded by 4, flips, no cutout
    "data.dir": None,
    "data.classes": None,
    "data.limit": None,
    "data.valid_fraction": 0.5,
    "data.split": None,
    "data.crop_padding": 4,
    "data.flip": True,
    "data.cutout": 0,
    "data.resize": None,
    "data.skip_damaged": False,
}
_SEARCH = {  # `cnn/train_search.py` of DARTS: 8 cells, 16 channels, 50 epochs of 64
    **_RUN,
    **_IMAGES,
    "data.name": "cifar10",
    "space": "darts_cnn",
    "channels": 16,
    "layers": 8,
    "stem": "cifar",
    "epochs": 50,
    "batch_size": 64,
    "seed": 2,
    "remat": False,
    "compute_dtype": "default",
    "table": None,
    "table_data": None,
    "max_skips": None,
    "drop_path.rate": 0.0,
    "drop_path.growth": "linear",
    "curvature.every": 0,
    "curvature.iterations": 20,
    "curvature.stop": None,
    "curvature.window": 5,
    "curvature.back": 4,
    "curvature.start": 10,
    "hardware.cost": None,
    "hardware.weight": 0.0,
    "hardware.target": None,
    "hardware.latency_table": None,
    "hardware.channels": None,
    "hardware.layers": None,
}
_TEXT = {
    "data.name": "ptb",
    "data.dir": None,
    "data.level": "word",
    "data.vocabulary": None,
    "data.unknown": "map",
    "data.limit": None,
    "activation": 0.0,  # `rnn/train.py` of DARTS: --alpha 0, --beta 1e-3
    "slowness": 1e-3,
    "dropout.output": 0.75,
    "dropout.hidden": 0.25,
    "dropout.input": 0.75,
    "dropout.embedded": 0.2,
    "halved": 0.05,
    "length": 35,
    "evaluation_batch": 10,
}
_TEXT_SEARCH = {  # `rnn/train_search.py` of DARTS
    **_RUN,
    **_TEXT,
    "space": "darts_rnn",
    "units": 300,
    "epochs": 50,
    "batch_size": 256,
    "seed": 3,
    "dropout.word": 0.0,
}
_TEXT_METHOD = {
    "weights.lr": 20.0,
    "weights.lr_min": None,
    "weights.momentum": 0.0,
    "weights.weight_decay": 5e-7,
    "weights.clip": 0.25,
    "arch.lr": 3e-3,
    "arch.b1": 0.9,
    "clip_virtual": True,
}
_SMALL = {"data.crop_padding": 1, "data.flip": False}  # 8 x 8 digits
# Name: the method, what differs from it, and what differs from the common settings.
_SEARCHES = {
    # The sources of these are those of their methods, above.
    "asap_cifar10": ("asap", {}, {}),
    "darts_cifar10": ("darts", {}, {}),
    "nasp_cifar10": ("nasp", {}, {"space": "nasp_cnn"}),
    "pcdarts_cifar10": ("pc_darts", {}, {"batch_size": 256}),
    "sgas_cifar10": ("sgas", {}, {}),
    "fairdarts_cifar10": (
        "fair_darts",
        {},
        {"space": "darts_cnn_7", "batch_size": 128},
    ),
    "gdas_cifar10": ("gdas", {}, {"layers": 6, "epochs": 250, "batch_size": 256}),
    "random_cifar10": ("random", {}, {"epochs": 250}),
    # P-DARTS: 3 stages of 25 epochs from 5 cells, batch 96, at most 2 skips.
    "pdarts_cifar10": (
        "p_darts",
        {},
        {"layers": 5, "epochs": 75, "batch_size": 96, "max_skips": 2},
    ),
    # DrNAS, `exps/nas-bench...` aside: 20 cells, 36 channels, K = 6 in the first stage.
    "drnas_cifar10": (
        "dr_nas",
        {"k": 6},
        {"space": "darts_cnn_7", "channels": 36, "layers": 20},
    ),
    # SNAS: 150 epochs, drop path 0.3 throughout.
    "snas_cifar10": (
        "snas",
        {},
        {"epochs": 150, "data.valid_fraction": 0.1}
        | {"drop_path.rate": 0.3, "drop_path.growth": "constant"},
    ),
    # Wang et al., ICLR 2021: first order, without `none`.
    "dartspt_cifar10": (
        "darts",
        {"hypergradient.name": "first_order"},
        {"space": "darts_cnn_7"},
    ),
    # Zela et al., ICLR 2020, section 4.3: every 2nd epoch, 1.3.
    "robust_darts_s2": (
        "darts",
        {},
        {"space": "s2", "curvature.every": 2, "curvature.stop": 1.3},
    ),
    # Dong, Yang, ICLR 2020, table 2 and `configs/nas-benchmark/algos/DARTS.config`.
    "nas_bench_201": (
        "darts",
        {"weights.weight_decay": 5e-4, "weights.nesterov": True},
        {"space": "nas_bench_201", "layers": 15},
    ),
    # train_search_imagenet.py of PC-DARTS: 0.5 to 0, arch 6e-3, batch 1024, 35 of 50
    # epochs without alpha, K = 2, a tenth and a fortieth of ImageNet.
    "pcdarts_imagenet": (
        "pc_darts",
        {"k": 2, "warmup": 0.7, "weights.lr": 0.5, "arch.lr": 6e-3, "arch.clip": 5.0},
        {"stem": "imagenet", "batch_size": 1024, "data.name": "image_folder"}
        | {"data.valid_fraction": 0.2, "data.crop_padding": 28},
    ),
    # Nothing published: for small data.
    "digits": (
        "darts",
        {"arch.lr": 3e-3},
        {"channels": 4, "layers": 3, "epochs": 10, "batch_size": 32}
        | {"data.name": "digits", **_SMALL},
    ),
    "smoke": (
        "darts",
        {"weights.lr": 0.1, "arch.lr": 3e-3},
        {"space": "toy", "channels": 4, "layers": 3, "epochs": 10, "batch_size": 32}
        | {"data.name": "digits", "data.limit": 512, **_SMALL},
    ),
    "darts_ptb": ("darts", _TEXT_METHOD, {}),
    "rnn_demo": (
        "darts",
        _TEXT_METHOD | {"weights.lr": 10.0},
        {"units": 32, "length": 20, "epochs": 5, "batch_size": 64}
        | {"dropout.output": 0.1, "dropout.hidden": 0.0, "dropout.input": 0.1}
        | {"dropout.embedded": 0.0, "data.name": "topics", "data.level": "character"},
    ),
}


def test_every_search_is_here():
    assert set(_SEARCHES) == set(config_names())


@pytest.mark.parametrize("name", _SEARCHES)
def test_searches(name):
    method, method_differs, differs = _SEARCHES[name]
    common = _TEXT_SEARCH if name in ("darts_ptb", "rnn_demo") else _SEARCH
    config = load_config(name)
    assert name_of(config.method) == method
    own = _BY_METHOD[method] | method_differs
    assert set(method_differs) <= set(_BY_METHOD[method]) and set(differs) <= set(
        common
    )
    expected = common | differs | {f"method.{key}": own[key] for key in own}
    assert flat(config) == expected | {"name": name}


# --- trainings ---

_TRAIN = {  # `cnn/train.py` of DARTS: 600 epochs of 96, 36 channels, 20 cells
    **_RUN,
    **_IMAGES,
    "channels": 36,
    "layers": 20,
    "stem": "cifar",
    "auxiliary": True,
    "auxiliary_weight": 0.4,
    "drop_path": 0.2,
    "label_smoothing": 0.0,
    "average_decay": 0.0,
    "epochs": 600,
    "batch_size": 96,
    "seed": 0,
    "evaluate_on": "test",
    "evaluate_every": 1,
    "remat": False,
    "scan": False,
    "compute_dtype": "default",
    "optimizer.lr": 0.025,
    "optimizer.lr_min": 0.0,
    "optimizer.momentum": 0.9,
    "optimizer.weight_decay": 3e-4,
    "optimizer.clip": 5.0,
    "optimizer.nesterov": False,
    "optimizer.weight_decay_last": None,
    "optimizer.schedule": "cosine",
    "optimizer.decay": 0.97,
    "optimizer.warmup_epochs": 0,
}
_TEXT_TRAIN = {  # `rnn/train.py` of DARTS
    **_RUN,
    **_TEXT,
    "units": 850,
    "deviation": 5.0,
    "epochs": 3600,
    "batch_size": 64,
    "test_batch": 1,
    "patience": 5,
    "seed": 1267,
    "dropout.word": 0.1,
    "optimizer.lr": 20.0,
    "optimizer.lr_min": None,
    "optimizer.momentum": 0.0,
    "optimizer.weight_decay": 8e-7,
    "optimizer.clip": 0.25,
    "optimizer.nesterov": False,
    "optimizer.weight_decay_last": None,
}
_SMALL_TEXT = {
    "units": 64,
    "length": 25,
    "deviation": 3.0,
    "epochs": 15,
    "batch_size": 32,
    "test_batch": 10,
    "dropout.output": 0.1,
    "dropout.hidden": 0.05,
    "dropout.input": 0.1,
    "dropout.embedded": 0.05,
    "dropout.word": 0.0,
    "optimizer.lr": 10.0,
}
_SMALL_TRAIN = {
    "auxiliary": False,
    "drop_path": 0.1,
    "batch_size": 64,
    "optimizer.lr": 0.05,
}
_TRAININGS = {
    "train_cifar10": {"data.name": "cifar10", "data.cutout": 16},  # DARTS, A.2
    # train_cifar.py of P-DARTS: drop_path_prob 0.3.
    "train_cifar100": {"data.name": "cifar100", "data.cutout": 16, "drop_path": 0.3},
    # DARTS, A.3, and `cnn/train_imagenet.py`: 14 cells, 48 channels, 250 epochs of 128,
    # 0.1 times 0.97 an epoch, 3e-5, label smoothing 0.1.
    "train_imagenet": {
        "channels": 48,
        "layers": 14,
        "stem": "imagenet",
        "drop_path": 0.0,
        "label_smoothing": 0.1,
        "epochs": 250,
        "batch_size": 128,
        "optimizer.lr": 0.1,
        "optimizer.weight_decay": 3e-5,
        "optimizer.schedule": "exponential",
        "data.name": "image_folder",
        "data.crop_padding": 28,
    },
    "train_ptb": {},  # DARTS, A.2.2
    # DARTS, section 3.3: 700 units, dropout of states 0.15, weight decay 5e-7.
    "train_wikitext2": {
        "units": 700,
        "dropout.hidden": 0.15,
        "optimizer.weight_decay": 5e-7,
        "data.name": "wikitext2",
    },
    # Nothing published: for small data.
    "train_digits": _SMALL_TRAIN
    | {"channels": 8, "layers": 3, "epochs": 15, "data.name": "digits", **_SMALL},
    "train_images": _SMALL_TRAIN
    | {"channels": 16, "layers": 5, "epochs": 60, "evaluate_on": "auto"}
    | {"data.name": "image_folder"},
    "train_text": _SMALL_TEXT | {"data.name": "file"},
    "train_topics": _SMALL_TEXT | {"data.name": "topics", "data.level": "character"},
}
_OF_TEXTS = {"train_ptb", "train_wikitext2", "train_text", "train_topics"}


def test_every_training_is_here():
    assert set(_TRAININGS) == set(recipe_names())


@pytest.mark.parametrize("name", _TRAININGS)
def test_trainings(name):
    common = _TEXT_TRAIN if name in _OF_TEXTS else _TRAIN
    differs = _TRAININGS[name]
    assert set(differs) <= {*common, "data.name"}
    assert flat(load_recipe(name)) == common | differs | {"name": name}


@pytest.mark.parametrize("name", METHODS)
def test_the_benchmarks_optimiser_holds_for_every_method(name):
    """AutoDL-Projects, configs/nas-benchmark/algos: lr 0.025 to 0.001, momentum 0.9,
    decay 5e-4, Nesterov."""
    method = parse_search(["nas_bench_201", "--method", name]).config.method
    assert method.weights == WeightOptimizer(weight_decay=5e-4, nesterov=True)
    own = parse_search(["darts_cifar10", "--method", name]).config.method.weights
    assert own == METHODS[name].config().weights  # where none is set


def test_perturbation():
    """ruocwang/darts-pt, sota/cnn/projection.py: makes a cosine, but never steps it."""
    assert dataclasses.asdict(PerturbConfig()) == {
        "epochs_between": 5,
        "lr": 0.0025,
        "lr_min": None,
        "criterion": "accuracy",
    }
