"""PC-DARTS: the mixed op, the shuffle, several steps of a search."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from golden import (
    SPACE,
    arch,
    arch_names,
    cases,
    check,
    file_network,
    images,
    load,
    locate,
    weights,
)

from jdarts import Batch, HypergradientConfig, SearchBatches, build_method
from jdarts.methods.optimizers import ArchOptimizer, WeightOptimizer
from jdarts.methods.pc_darts import PcDartsConfig
from jdarts.nets.cell import MixedSource
from jdarts.nets.partial import PartialChannels, halve, shuffle

TOLERANCE, LOSSES = 1e-10, 1e-8
TAGS = {"first": "first_order", "exact": "unrolled"}


@cases("06_pcdarts_mixedop*.npz")
def test_shuffle(path):
    file = load(path)
    names = [name for name in file if name.startswith("shuffle_perm.")]
    assert names
    for name in names:
        channels = int(name.rsplit("C", 1)[1])
        found = shuffle(jnp.arange(channels), file.meta["k"])
        np.testing.assert_array_equal(found, file[name])


@cases("06_pcdarts_mixedop*.npz")
def test_mixed_op(path):
    """An edge alone: values, and gradients in the input and in the mixing weights."""
    file = load(path)
    partial = PartialChannels(file.meta["k"])
    primitives = tuple(file.meta["primitives"])
    for case in file.meta["cases"]:
        key, stride = case["key"], case["stride"]
        source = MixedSource(primitives, stride)
        x, projection = images(file[f"{key}.x"]), images(file[f"{key}.R"])
        mix = jnp.asarray(file[f"{key}.weights"])[None]
        width = case["C"] // partial.k
        tensors = {
            name.removeprefix(f"{key}.w."): file[name]
            for name in file
            if name.startswith(f"{key}.w.")
        }
        params = _params(tensors, SPACE.cells["normal"])

        def project(x, mix, source=source, params=params, r=projection, s=stride):
            ahead, rest = partial.split(x, None)
            out = source.apply({"params": params}, ahead, mix, train=True)[0]
            rest = halve(rest) if s == 2 else rest
            out = partial.join([out], [rest], None)
            return (out * r).sum(), out

        gradients = jax.grad(project, argnums=(0, 1), has_aux=True)
        (gx, gmix), out = jax.jit(gradients)(x, mix)
        assert all(t.shape[0] <= width for t in tensors.values())
        check(file, out, images(file[f"{key}.out"]), TOLERANCE, key)
        check(file, gx, images(file[f"{key}.gx"]), TOLERANCE, key)
        check(file, gmix[0], file[f"{key}.gweights"], TOLERANCE, key)


def _params(tensors, spec):
    """Of the edges that leave source 0, of which there is one here."""
    tree, rows = {}, {}
    for name, tensor in tensors.items():
        place = locate(f"cell0.edge0.{name}", (dataclasses.replace(spec, nodes=1),))
        *folders, leaf = place.path[2:]
        at = tree
        for folder in folders:
            at = at.setdefault(folder, {})
        rows.setdefault((*folders, leaf), {})[place.row] = place.layout.ours(tensor)
        at[leaf] = jnp.stack([t for _, t in sorted(rows[*folders, leaf].items())])
    return tree


def run_steps(file, tag):
    meta = file.meta
    config = PcDartsConfig(
        hypergradient=HypergradientConfig(TAGS[tag]),
        weights=WeightOptimizer(
            lr=meta["eta"],
            lr_min=meta["eta"],
            momentum=meta["momentum"],
            weight_decay=meta["weight_decay"],
            clip=meta["clip"],
        ),
        arch=ArchOptimizer(lr=meta["arch_lr_steps"]),
        warmup=0.0,
        k=meta["k"],
    )
    network = file_network(file)
    steps = len(file["steps.y_train"])
    method = build_method(config, SPACE, network, epochs=1, steps_per_epoch=steps)
    train, valid = (
        Batch(images(file[f"steps.x_{n}"]), jnp.asarray(file[f"steps.y_{n}"], int))
        for n in ("train", "val")
    )
    state = method.init(jax.random.key(0), train.images[0])
    state = state._replace(w=weights(file), arch=arch(file))
    archs, log = [arch_names(state.arch)], []
    for i in range(steps):
        batches = SearchBatches(
            train=Batch(*(x[i : i + 1] for x in train)),
            valid=Batch(*(x[i] for x in valid)),
        )
        before = state._replace(model_state=None)
        state, metrics = method.step(jax.random.key(1), before, batches)
        archs.append(arch_names(state.arch))
        log.append(metrics)
    return archs, log


@cases("06_pcdarts_second_order*.npz")
def test_steps(path):
    file = load(path)
    for tag in TAGS:
        archs, log = run_steps(file, tag)
        for name in archs[0]:
            found = jnp.stack([a[name] for a in archs])
            check(file, found, file[f"steps_{tag}.{name}"], LOSSES, f"{tag} {name}")
        for name, ours in (
            ("train_loss", "train_loss"),
            ("val_loss", "valid_loss"),
            ("gnorm", "gradient_norm"),
        ):
            found = jnp.stack([m[ours] for m in log])
            check(file, found, file[f"steps_{tag}.{name}"], LOSSES, f"{tag} {name}")
