"""The search network: activations, outputs, every gradient."""

import jax
import numpy as np
import pytest
from golden import (
    SPACE,
    arch,
    batch,
    cases,
    check,
    check_packed,
    file_network,
    file_problem,
    images,
    load,
    relaxation,
    weights,
)

from jdarts import tree
from jdarts.nets.network import supernet

FILES = "02_darts_search_*.npz"
OUTPUTS, GRADIENTS = 1e-10, 1e-9


@cases(FILES)
def test_logits_loss_and_gradients(path):
    file = load(path)
    w, a, b = weights(file), arch(file), batch(file)
    problem, network = file_problem(file), file_network(file)

    logits, _, seen = jax.vjp(
        lambda *args: network.apply(args[0], None, args[1], b.images, True),
        w,
        relaxation.weights(a),
        has_aux=True,
    )
    check(file, logits, file["logits"], OUTPUTS, "logits")
    for name in file:
        if name.startswith("act."):
            ours = name.removeprefix("act.").replace("cell", "cell_")
            check(file, seen[ours], images(file[name]), OUTPUTS, name)
    loss, (gw, ga) = jax.value_and_grad(problem.loss, argnums=(0, 1))(w, a, b)
    check(file, loss, file["loss"], OUTPUTS, "loss")
    check_packed(file, gw, "g", GRADIENTS)
    check(file, tree.norm(gw), file["gw_total_norm"], GRADIENTS, "gradient norm")
    for kind in SPACE.cells:
        check(file, ga.alpha[kind], file[f"galpha_{kind}"], GRADIENTS, kind)


@cases(FILES)
def test_normalised_images(path):
    """Our normalisation of raw images is the files'."""
    file = load(path)
    if "raw_uint8_nhwc" not in file:
        pytest.skip(f"{path.name} holds no raw images")
    x = (file["raw_uint8_nhwc"] / 255 - file["cifar_mean"]) / file["cifar_std"]
    np.testing.assert_array_equal(x.astype(np.float32), images(file["x"]))


@pytest.mark.parametrize(("classes", "count"), [(10, 1_930_618), (100, 1_953_748)])
def test_number_of_weights(classes, count):
    """Liu et al.'s search network: 16 channels, 8 cells (measured on their code)."""
    network = supernet(SPACE, channels=16, layers=8, classes=classes)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    w, _ = jax.eval_shape(network.init, jax.random.key(0), image)
    assert tree.size(w) == count
