"""Derived networks: outputs of both heads in both modes, gradients, statistics."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fixed_files import (
    OTHER_NAMES,
    from_tree,
    genotype_of,
    network_of,
    to_tree,
    whole_loss,
)
from golden import cases, check, files, images, load
from recurrent_files import NOTHING

from jdarts import ZOO, fixed_network, get_space, jit, supernet, tree
from jdarts.nets.partial import PartialChannels
from jdarts.nets.recurrent import fixed_recurrent, mixed_recurrent
from jdarts.spaces import DARTS_RNN

FILES = "08_eval_*.npz"
OUTPUTS, GRADIENTS, STATISTICS = 1e-9, 1e-7, 1e-9


def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@pytest.fixture(scope="module")
def runs():
    """File to ``(file, w, statistics, results)``; each network is compiled once."""
    made = {}

    def run(path):
        if path not in made:
            made[path] = _run(load(path))
        return made[path]

    return run


def _run(file):
    network = network_of(file, scan=False)
    x, y = images(file["x"]), jnp.asarray(file["y"], jnp.int32)
    template = jax.eval_shape(network.init, jax.random.key(0), x)
    w = to_tree(file, file.unpack("w"), template[0])
    stats = to_tree(file, file.unpack("stats", file.stats_index), template[1])

    def loss(w, stats):
        outputs, updated = network.apply(w, stats, x, True)
        main = cross_entropy(outputs.logits, y)
        if outputs.auxiliary is None:
            return main, (outputs, updated, main, None)
        aux = cross_entropy(outputs.auxiliary, y)
        return main + file.meta["aux_weight"] * aux, (outputs, updated, main, aux)

    train = jit(jax.value_and_grad(loss, has_aux=True))(w, stats)
    outputs, unchanged = jit(lambda w, s: network.apply(w, s, x, False))(w, stats)
    return file, w, stats, train, outputs, unchanged


@cases(FILES)
def test_evaluation(path, runs):
    file, _, stats, _, outputs, unchanged = runs(path)
    check(file, outputs.logits, file["eval.logits"], OUTPUTS, "logits")
    assert ("eval.aux_logits" in file) == (outputs.auxiliary is not None)
    if outputs.auxiliary is not None:
        check(file, outputs.auxiliary, file["eval.aux_logits"], OUTPUTS, "auxiliary")
    for a, b in zip(jax.tree.leaves(unchanged), jax.tree.leaves(stats), strict=True):
        np.testing.assert_array_equal(a, b)


@cases(FILES)
def test_training(path, runs):
    file, _, _, ((total, aux), _), *_ = runs(path)
    outputs, updated, main, auxiliary = aux
    check(file, outputs.logits, file["train.logits"], OUTPUTS, "logits")
    check(file, main, file["train.loss"], OUTPUTS, "loss")
    if file.meta["auxiliary"]:
        logits = file["train.aux_logits"]
        check(file, outputs.auxiliary, logits, OUTPUTS, "auxiliary")
        check(file, auxiliary, file["train.loss_aux"], OUTPUTS, "auxiliary loss")
    check(file, total, file[whole_loss(file)], OUTPUTS, "total loss")
    after = file.unpack("stats_after_train", file.stats_index)
    found = from_tree(file, updated, after)
    flat = [np.concatenate([t[n].ravel() for n in after]) for t in (found, after)]
    check(file, *flat, STATISTICS, "running statistics")


@cases(FILES)
def test_gradients(path, runs):
    file, _, _, (_, gradient), *_ = runs(path)
    found = from_tree(file, gradient, [name for name, _ in file.index])
    norms = [np.linalg.norm(found[name]) for name, _ in file.index]
    check(file, np.array(norms), file["train.grad_norms"], GRADIENTS, "norms")
    names = [n.removeprefix("train.grad:") for n in file if n.startswith("train.grad:")]
    assert names
    for name in names:
        check(file, found[name], file[f"train.grad:{name}"], GRADIENTS, name)


def test_the_zoo_has_the_files_genotypes():
    known = 0
    for path in files(FILES):
        meta = load(path).meta
        name = OTHER_NAMES.get(meta["genotype_name"], meta["genotype_name"])
        if name in ZOO:
            known += 1
            assert ZOO[name].cells == genotype_of(meta["genotype"]).cells
    assert known


# --- numbers of parameters ------------------------------------------------------------

SEARCHED = {"darts": ("darts_cnn", 1), "pcdarts": ("darts_cnn", 4)}
SEARCHED |= {"nasp": ("nasp_cnn", 1)}
"""Family to its space and the k of which a network computes a k-th of the channels."""


@functools.cache
def counts_of(kind, family, name, channels, layers, classes):
    """The weights of our network of that kind, with and without auxiliary head."""
    sizes = {"channels": channels, "layers": layers, "classes": classes}
    side, options = 32, {}
    if kind == "search":
        space, k = SEARCHED[family]
        network = supernet(get_space(space), **sizes, partial=PartialChannels(k))
    else:
        if kind == "NetworkImageNet":
            side, options = 224, {"stem": "imagenet"}
        genotype = ZOO[OTHER_NAMES.get(name, name)]
        network = fixed_network(genotype, **sizes, **options, auxiliary=True)
    image = jax.ShapeDtypeStruct((1, side, side, 3), np.float32)
    w, _ = jax.eval_shape(network.init, jax.random.key(0), image)
    total = tree.size(w)
    return total, total - tree.size(w.get("auxiliary", {}))


def recurrent_count(row):
    """The weights of our recurrent network."""
    sizes = {"vocabulary": row["ntokens"], "units": row["nhid"], "dropout": NOTHING}
    if row["kind"] == "search":
        network = mixed_recurrent(DARTS_RNN, **sizes)
    else:
        name = OTHER_NAMES.get(row["genotype"], f"RNN_{row['genotype']}")
        network = fixed_recurrent(ZOO[name], **sizes)
    return tree.size(jax.eval_shape(network.init, jax.random.key(0))[0])


def test_parameter_counts():
    (path,) = files("08_param_counts.json")
    rows = json.loads(path.read_text())
    assert rows
    for row in rows:
        if row["family"] == "rnn":
            assert recurrent_count(row) == row["total"], row
            continue
        names = ("kind", "family", "genotype", "C", "layers", "classes")
        total, without = counts_of(*(row.get(name) for name in names))
        assert row["total"] == (total if row.get("auxiliary", True) else without), row
        assert row.get("without_aux", total) == without, row
