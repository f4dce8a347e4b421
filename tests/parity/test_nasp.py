"""NASP: proximal step, box, both phases of a step, several steps, ties."""

import re

import jax
import jax.numpy as jnp
import numpy as np
from golden import (
    arch,
    batch,
    cases,
    check,
    check_packed,
    file_cells,
    file_network,
    file_space,
    from_tree,
    images,
    load,
    weights,
)

from jdarts import Arch, Batch, SearchBatches, build_method
from jdarts.methods.bilevel import all_ops, single_op
from jdarts.methods.nasp import NaspConfig, burden, size_penalty
from jdarts.methods.optimizers import ArchOptimizer, WeightOptimizer
from jdarts.relaxation import discrete
from jdarts.relaxation.discrete import keep_one_op
from jdarts.spaces import NASP_CNN

OUTPUTS, GRADIENTS, STEPS = 1e-10, 1e-9, 1e-8
RELAXATION = discrete(NASP_CNN)


@cases("07_nasp_prox*.npz")
def test_proximal_step_and_box(path):
    file = load(path)
    for kind, spec in NASP_CNN.cells.items():
        for before, after in zip(
            file[f"{kind}.before"], file[f"{kind}.after"], strict=True
        ):
            np.testing.assert_array_equal(keep_one_op(spec, jnp.array(before)), after)
        outside = Arch({kind: jnp.array(file[f"{kind}.clip_in"])}, {})
        clipped = RELAXATION.project(outside).alpha[kind]
        np.testing.assert_array_equal(clipped, file[f"{kind}.clipped"])


def phases(file):
    """Losses and gradients of both phases of a step."""
    network = file_network(file)
    w, a, b = weights(file), arch(file), batch(file)
    for kind, mix in RELAXATION.weights(a).items():
        np.testing.assert_array_equal(mix, file[f"alpha_{kind}_bin"])
    alpha = jax.value_and_grad(all_ops(network, RELAXATION).loss, argnums=1)(w, a, b)
    return network, w, a, b, alpha


@cases("07_nasp_search*.npz")
def test_both_phases(path):
    file = load(path)
    network, w, a, b, (loss, gradient) = phases(file)
    check(file, loss, file["alpha_phase.loss"], OUTPUTS, "loss")
    for kind in a.alpha:
        expected = file[f"alpha_phase.galpha_{kind}"]
        check(file, gradient.alpha[kind], expected, GRADIENTS, kind)

    shares, eta = burden(NASP_CNN), float(file["l2_coefficient"])
    check(file, shares["normal"], file["l2_burden"], OUTPUTS, "burden")
    assert not shares["reduce"].any()
    added = jax.grad(size_penalty(eta, NASP_CNN, RELAXATION))(a)
    moved = gradient.alpha["normal"] + added.alpha["normal"]
    check(file, moved, file["alpha_phase_l2.galpha_normal"], GRADIENTS, "penalty")

    single = single_op(network, RELAXATION).loss
    loss, gradient = jax.value_and_grad(single)(w, a, b)
    check(file, loss, file["weight_phase.loss"], OUTPUTS, "weight phase")
    check_packed(file, gradient, "g", GRADIENTS)
    names = [name for name, _ in file.index]
    tensors = from_tree(gradient, names, file_cells(file))
    used = [bool(tensors[name].any()) for name in names]
    assert used == file["weight_phase.param_used"].astype(bool).tolist()


@cases("07_nasp_ties*.npz")
def test_ties_of_the_maximum(path):
    """The gradient of an op that was not chosen depends on them."""
    file = load(path)
    *_, (loss, gradient) = phases(file)
    check(file, loss, file["loss"], OUTPUTS, "loss")
    for kind, found in gradient.alpha.items():
        check(file, found, file[f"galpha_{kind}"], GRADIENTS, kind)
        even = file[f"even_split_galpha_{kind}"]
        assert kind != "reduce" or np.abs(found - even).max() > 1e-6


def run_steps(file, lr):
    meta = file.meta
    adam = meta["arch_adam"]
    b1, b2 = map(float, re.search(r"betas ([\d.]+) ([\d.]+)", adam).groups())
    config = NaspConfig(
        weights=WeightOptimizer(
            lr=meta["eta"],
            lr_min=meta["eta"],
            momentum=meta["momentum"],
            weight_decay=meta["weight_decay"],
            clip=meta["clip"],
        ),
        arch=ArchOptimizer(lr=lr, b1=b1, b2=b2, weight_decay=1e-3),
    )
    network, space = file_network(file), file_space(file)
    steps = len(file["y_train"])
    method = build_method(config, space, network, epochs=1, steps_per_epoch=steps)
    train, valid = (
        Batch(images(file[f"x_{n}"]), jnp.asarray(file[f"y_{n}"], int))
        for n in ("train", "val")
    )
    state = method.init(jax.random.key(0), train.images[0])
    state, trace = state._replace(w=weights(file), arch=arch(file)), []
    for i in range(steps):
        batches = SearchBatches(
            train=Batch(*(x[i : i + 1] for x in train)),
            valid=Batch(*(x[i] for x in valid)),
        )
        alpha = state.arch.alpha
        before = state._replace(model_state=None)
        state, metrics = method.step(jax.random.key(1), before, batches)
        trace.append((alpha, method.weights(state.arch), metrics))
    return trace, state


@cases("07_nasp_search*.npz")
def test_steps(path):
    file = load(path)
    end = ".train_loss"
    tags = {name.removesuffix(end) for name in file if name.endswith(end)}
    assert tags
    for tag in sorted(tags):
        trace, final = run_steps(file, float(tag.removeprefix("steps_lr")))
        for kind in final.arch.alpha:
            alphas = [alpha[kind] for alpha, *_ in trace] + [final.arch.alpha[kind]]
            expected = file[f"{tag}.alpha_{kind}"]
            check(file, jnp.stack(alphas), expected, STEPS, f"{tag} {kind}")
            mix = jnp.stack([mix[kind] for _, mix, _ in trace])
            np.testing.assert_array_equal(mix, file[f"{tag}.alpha_{kind}_bin"])
        for name, ours in (
            ("train_loss", "train_loss"),
            ("val_loss", "valid_loss"),
            ("gnorm", "gradient_norm"),
        ):
            found = jnp.stack([metrics[ours] for *_, metrics in trace])
            check(file, found, file[f"{tag}.{name}"], STEPS, f"{tag} {name}")
        norms = file.norms(f"{tag}.w_end_norms")
        tensors = from_tree(final.w, norms, file_cells(file))
        for name, norm in norms.items():
            check(file, np.linalg.norm(tensors[name]), norm, STEPS, f"{tag} {name}")
        if tag == "steps_lr0.1":
            check_packed(file, final.w, "w_end_lr01", STEPS)
