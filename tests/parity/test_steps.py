"""Several steps of a search, by the step that a search takes."""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from golden import (
    SPACE,
    arch,
    batch,
    cases,
    check,
    check_packed,
    file_cells,
    file_network,
    from_tree,
    load,
    weights,
)

from jdarts import Batch, DartsConfig, HypergradientConfig, SearchBatches, build_method
from jdarts.methods.optimizers import ArchOptimizer, WeightOptimizer
from jdarts.ops.pack import unpack

FILES = "04_darts_steps*.npz"
LOSSES, GRADIENTS = 1e-8, 1e-8

# Tag -> hypergradient. `first_oldeps` is left out: it holds what PyTorch's Adam of 2018
# made of epsilon (added before the bias correction), which optax's does not.
TAGS = {
    "first": HypergradientConfig("first_order"),
    "fd": HypergradientConfig("finite_difference"),
    "exact": HypergradientConfig("unrolled"),
    "first_clip": HypergradientConfig("first_order"),
}


def number(text, name):
    """``lr 3e-4`` -> 3e-4."""
    return float(re.search(rf"\b{name} ([\d.e-]+)", text)[1])


def make_config(meta, tag):
    b1, b2 = re.search(r"betas ([\d.]+) ([\d.]+)", meta["arch"]).groups()
    lr = number(meta["w"], "lr")
    return DartsConfig(
        hypergradient=TAGS[tag],
        weights=WeightOptimizer(
            lr=lr,
            lr_min=lr,
            momentum=number(meta["w"], "momentum"),
            weight_decay=number(meta["w"], "wd"),
            clip=meta.get(f"clip_{tag}", meta["clip"]),
        ),
        arch=ArchOptimizer(
            lr=number(meta["arch"], "lr"),
            b1=float(b1),
            b2=float(b2),
            weight_decay=number(meta["arch"], "wd"),
        ),
    )


def find_state(opt_state, kind):
    (found,) = (
        s
        for s in jax.tree.leaves(opt_state, is_leaf=lambda s: isinstance(s, kind))
        if isinstance(s, kind)
    )
    return found


def alpha_gradient(config, before, after):
    """The gradient that Adam got, less the weight decay: mu' = b1 mu + (1 - b1) g."""
    mu = [find_state(s.arch_opt[0], optax.ScaleByAdamState).mu for s in (before, after)]
    b1, decay = config.arch.b1, config.arch.weight_decay
    return jax.tree.map(
        lambda m, n, alpha: (n - b1 * m) / (1 - b1) - decay * alpha,
        *mu,
        before.arch.alpha,
    )


class Trace(NamedTuple):
    """What the steps went through."""

    alpha: list
    galpha: list
    metrics: list
    final: object


def run(file, tag):
    config = make_config(file.meta, tag)
    steps = file.meta["steps"]
    method = build_method(
        config, SPACE, file_network(file), epochs=1, steps_per_epoch=steps
    )
    train, valid = batch(file, "_train"), batch(file, "_val")
    w = weights(file)
    state = method.init(jax.random.key(0), train.images[0])
    # Running statistics have no part in this, and no golden numbers.
    state = state._replace(w=w, arch=arch(file))
    trace = Trace([state.arch.alpha], [], [], None)
    for i in range(steps):
        batches = SearchBatches(
            train=Batch(*(x[i : i + 1] for x in train)),
            valid=Batch(*(x[i] for x in valid)),
        )
        before = state._replace(model_state=None)
        state, metrics = method.step(jax.random.key(1), before, batches)
        trace.alpha.append(state.arch.alpha)
        trace.galpha.append(alpha_gradient(config, before, state))
        trace.metrics.append(metrics)
    return trace._replace(final=state)


@cases(FILES)
@pytest.mark.parametrize("tag", TAGS)
def test_steps(path, tag):
    file = load(path)
    trace = run(file, tag)
    for kind in SPACE.cells:
        alpha = jnp.stack([a[kind] for a in trace.alpha])
        check(file, alpha, file[f"{tag}.alpha_{kind}"], LOSSES, f"{tag} alpha")
        for i, gradient in enumerate(trace.galpha):
            expected = file[f"{tag}.galpha_{kind}"][i]
            check(file, gradient[kind], expected, GRADIENTS, f"{tag} gradient {i}")
    for name, ours in (
        ("train_loss", "train_loss"),
        ("val_loss", "valid_loss"),
        ("gnorm", "gradient_norm"),
    ):
        found = jnp.stack([m[ours] for m in trace.metrics])
        check(file, found, file[f"{tag}.{name}"], LOSSES, f"{tag} {name}")

    state = trace.final
    momentum = unpack(find_state(state.w_opt, optax.TraceState).trace, state.w)
    for name, tensors in (("w_end_norms", state.w), ("buf_end_norms", momentum)):
        expected = file.norms(f"{tag}.{name}")
        found = from_tree(tensors, expected, file_cells(file))
        found = {n: np.linalg.norm(t) for n, t in found.items()}
        for n in expected:
            check(file, found[n], expected[n], LOSSES, f"{tag} {name} {n}")
    if f"w_end_{tag}" in file:
        check_packed(file, state.w, f"w_end_{tag}", LOSSES)
