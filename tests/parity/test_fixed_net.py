"""Derived networks: outputs of both heads in both modes, gradients, statistics."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fixed_files import from_tree, genotype_of, network_of, to_tree
from golden import FOLDER, cases, check, images, load

from jdarts import ZOO, fixed_network, supernet, tree
from jdarts.compile import jit
from jdarts.spaces import get_space

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
        main, aux = (cross_entropy(logits, y) for logits in outputs)
        return main + file.meta["aux_weight"] * aux, (outputs, updated, main, aux)

    train = jit(jax.value_and_grad(loss, has_aux=True))(w, stats)
    outputs, unchanged = jit(lambda w, s: network.apply(w, s, x, False))(w, stats)
    return file, w, stats, train, outputs, unchanged


@cases(FILES)
def test_evaluation(path, runs):
    file, _, stats, _, outputs, unchanged = runs(path)
    check(file, outputs.logits, file["eval.logits"], OUTPUTS, "logits")
    check(file, outputs.auxiliary, file["eval.aux_logits"], OUTPUTS, "auxiliary")
    for a, b in zip(jax.tree.leaves(unchanged), jax.tree.leaves(stats), strict=True):
        np.testing.assert_array_equal(a, b)


@cases(FILES)
def test_training(path, runs):
    file, _, _, ((total, aux), _), *_ = runs(path)
    outputs, updated, main, auxiliary = aux
    check(file, outputs.logits, file["train.logits"], OUTPUTS, "logits")
    check(file, outputs.auxiliary, file["train.aux_logits"], OUTPUTS, "auxiliary")
    check(file, main, file["train.loss"], OUTPUTS, "loss")
    check(file, auxiliary, file["train.loss_aux"], OUTPUTS, "auxiliary loss")
    check(file, total, file["train.loss_total"], OUTPUTS, "total loss")
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
    paths = sorted(FOLDER.glob(FILES))
    if not paths:
        pytest.skip(f"no golden file {FILES} in {FOLDER}")
    for path in paths:
        meta = load(path).meta
        name = {"NASP": "NASP_12op"}.get(meta["genotype_name"], meta["genotype_name"])
        assert ZOO[name].cells == genotype_of(meta["genotype"]).cells


# --- numbers of parameters ------------------------------------------------------------

OTHER_NAMES = {"NASNet": "NASNet_A", "AmoebaNet": "AmoebaNet_A", "NASP": "NASP_12op"}
# What jdarts has no network for (yet), by family and kind.
NOT_HERE = {("pcdarts", "search"), ("nasp", "search"), ("rnn", "search")}
NOT_HERE |= {("rnn", "derived")}


@functools.cache
def counts_of(kind, name, channels, layers, classes):
    """The weights of our network of that kind, with and without auxiliary head."""
    sizes = {"channels": channels, "layers": layers, "classes": classes}
    side, options = 32, {}
    if kind == "search":
        network = supernet(get_space("darts_cnn"), **sizes)
    else:
        if kind == "NetworkImageNet":
            side, options = 224, {"stem": "imagenet"}
        genotype = ZOO[OTHER_NAMES.get(name, name)]
        network = fixed_network(genotype, **sizes, **options, auxiliary=True)
    image = jax.ShapeDtypeStruct((1, side, side, 3), np.float32)
    w, _ = jax.eval_shape(network.init, jax.random.key(0), image)
    total = tree.size(w)
    return total, total - tree.size(w.get("auxiliary", {}))


def test_parameter_counts():
    path = FOLDER / "08_param_counts.json"
    if not path.exists():
        pytest.skip(f"no {path.name} in {FOLDER}")
    rows, compared = json.loads(path.read_text()), 0
    for row in rows:
        if (row["family"], row["kind"]) in NOT_HERE:
            continue
        names = ("kind", "genotype", "C", "layers", "classes")
        total, without = counts_of(*(row.get(name) for name in names))
        assert row["total"] == (total if row.get("auxiliary", True) else without), row
        assert row.get("without_aux", total) == without, row
        compared += 1
    assert compared >= len(rows) - 10
