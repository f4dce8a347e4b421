"""The search network: activations, outputs, every gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import (
    arch,
    arch_names,
    batch,
    cases,
    check,
    check_packed,
    file_network,
    file_problem,
    file_relaxation,
    images,
    load,
    weights,
)

from jdarts import get_space, supernet, tree
from jdarts.data import DATASETS, AugmentSpec, normalise
from jdarts.nets.partial import PartialChannels

FILES = "02_darts_search_*.npz"
PARTIAL = "06_pcdarts_search*.npz"
OUTPUTS, GRADIENTS = 1e-10, 1e-9


@cases(FILES, PARTIAL)
def test_logits_loss_and_gradients(path):
    file = load(path)
    w, a, b = weights(file), arch(file), batch(file)
    problem, network = file_problem(file), file_network(file)

    logits, _, seen = jax.vjp(
        lambda *args: network.apply(args[0], None, args[1], b.images, True),
        w,
        file_relaxation(file).weights(a),
        has_aux=True,
    )
    check(file, logits, file["logits"], OUTPUTS, "logits")
    for name in file:
        if name.startswith("act."):
            ours = name.removeprefix("act.").replace("cell", "cell_")
            check(file, seen[ours], images(file[name]), OUTPUTS, name)
        if name.startswith("act_sum."):
            ours = name.removeprefix("act_sum.").replace("cell", "cell_")
            check(file, seen[ours].sum((1, 2)), file[name], OUTPUTS, name)
    loss, (gw, ga) = jax.value_and_grad(problem.loss, argnums=(0, 1))(w, a, b)
    check(file, loss, file["loss"], OUTPUTS, "loss")
    check_packed(file, gw, "g", GRADIENTS)
    check(file, tree.norm(gw), file["gw_total_norm"], GRADIENTS, "gradient norm")
    for name, gradient in arch_names(ga).items():
        check(file, gradient, file[f"g{name}"], GRADIENTS, name)


@cases(FILES)
def test_normalised_images(path):
    """By jdarts' mean and deviation of CIFAR-10, which are the files'."""
    file = load(path)
    if "raw_uint8_nhwc" not in file:
        pytest.skip(f"{path.name} holds no raw images")
    row = DATASETS["cifar10"]
    np.testing.assert_array_equal(row.mean, file["cifar_mean"])
    np.testing.assert_array_equal(row.std, file["cifar_std"])
    spec = AugmentSpec(0, False, 0, row.mean, row.std)
    x = normalise(jnp.asarray(file["raw_uint8_nhwc"]), spec, jnp.float64)
    np.testing.assert_array_equal(np.float32(x), images(file["x"]))


@pytest.mark.parametrize(
    ("space", "k", "stem", "classes", "count"),
    [
        ("darts_cnn", 1, "cifar", 10, 1_930_618),
        ("darts_cnn", 1, "cifar", 100, 1_953_748),
        ("darts_cnn", 4, "cifar", 10, 299_578),
        ("darts_cnn", 4, "cifar", 100, 322_708),
        ("darts_cnn", 2, "imagenet", 1000, 956_512),
        ("darts_cnn_7", 1, "cifar", 10, 1_930_618),
        ("nasp_cnn", 1, "cifar", 10, 4_151_354),
        ("nasp_cnn", 1, "cifar", 100, 4_174_484),
    ],
)
def test_number_of_weights(space, k, stem, classes, count):
    """Of the original networks with 16 channels and 8 cells."""
    network = supernet(
        get_space(space),
        channels=16,
        layers=8,
        classes=classes,
        partial=PartialChannels(k),
        stem=stem,
    )
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)
    w, _ = jax.eval_shape(network.init, jax.random.key(0), image)
    assert tree.size(w) == count
