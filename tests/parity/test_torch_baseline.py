"""The benchmarks' PyTorch baseline is the network and the steps that jdarts is."""

import numpy as np
import pytest
from golden import SPACE, cases, check, load
from helpers import torch_or_skip

torch = torch_or_skip()

from torch_baseline import Batch, Search, Supernet  # noqa: E402
from torch_plan import make_plan  # noqa: E402

torch.set_num_threads(1)  # of tiny tensors, beside other tests

OUTPUTS, GRADIENTS, STEPS, QUOTIENT = 1e-10, 1e-9, 1e-8, 1e-7


def own_name(name):
    """``cell0.edge1.OP.PART`` of the files -> ``cells.0.edges.1.OP.PART.weight``."""
    parts = name.split(".")
    if parts[0].startswith("cell"):
        parts[:1] = ["cells", parts[0].removeprefix("cell")]
        if parts[2].startswith("edge"):
            parts[2:3] = ["edges", parts[2].removeprefix("edge")]
    ends = {"scale": "weight", "shift": "bias"}
    if parts[-1] in ends:
        parts[-1] = ends[parts[-1]]
    elif parts[0] != "head":
        parts.append("weight")
    return ".".join(parts)


def tensor(array):
    return torch.from_numpy(np.array(array))


def packed(file, name):
    """A packed vector's tensors by our names."""
    return {own_name(n): tensor(t) for n, t in file.unpack(name).items()}


def make_search(file, clip=5.0):
    meta = file.meta
    plan = make_plan(SPACE, meta["C"], meta["layers"], meta["classes"])
    model = Supernet(plan).double()
    values = packed(file, "w")
    values |= {f"alpha.{kind}": tensor(file[f"alpha_{kind}"]) for kind in SPACE.cells}
    found = dict(model.named_parameters())
    assert values.keys() == found.keys()
    with torch.no_grad():
        for name, value in values.items():
            found[name].copy_(value)
    return Search(model, clip=clip)


def batch(file, which="", i=...):
    x, y = file[f"x{which}"][i], file[f"y{which}"][i]
    return Batch(tensor(x), tensor(y).long())


def check_weights(file, search, tensors, name, tolerance):
    """Our list of tensors, in the order of the weights, against a packed vector."""
    names = [n for n, _ in search.model.named_parameters() if "alpha" not in n]
    found = dict(zip(names, tensors, strict=True))
    pairs = [(found[n].detach(), t) for n, t in packed(file, name).items()]
    flat = [torch.cat([t.ravel() for t in side]) for side in zip(*pairs, strict=True)]
    check(file, *flat, tolerance, name)


def check_alphas(file, found, name, tolerance):
    for kind, gradient in zip(SPACE.cells, found, strict=True):
        check(file, gradient, file[name.format(kind)], tolerance, f"{name} {kind}")


@cases("02_darts_search_*.npz")
def test_network(path):
    file = load(path)
    search, b = make_search(file), batch(file)
    with torch.no_grad():
        logits = search.model(b.images)
    check(file, logits, file["logits"], OUTPUTS, "logits")
    loss, both = search.gradients(b, weights=True, alphas=True)
    check(file, loss, file["loss"], OUTPUTS, "loss")
    count = len(search.weights)
    check_weights(file, search, both[:count], "g", GRADIENTS)
    check_alphas(file, both[count:], "galpha_{}", GRADIENTS)
    # One part alone is the same.
    _, weights = search.gradients(b, weights=True, alphas=False)
    check_weights(file, search, weights, "g", GRADIENTS)
    _, alphas = search.gradients(b, weights=False, alphas=True)
    check_alphas(file, alphas, "galpha_{}", GRADIENTS)


@cases("02_darts_search_small*.npz")
def test_channels_last(path):
    """The order in memory that is timed gives the same."""
    file = load(path)
    search, b = make_search(file), batch(file)
    search.model.to(memory_format=torch.channels_last)
    images = b.images.to(memory_format=torch.channels_last)
    _, both = search.gradients(b._replace(images=images), weights=True, alphas=True)
    count = len(search.weights)
    check_weights(file, search, both[:count], "g", GRADIENTS)
    check_alphas(file, both[count:], "galpha_{}", GRADIENTS)


@cases("03_darts_second_order*.npz")
def test_architecture_gradients(path):
    file = load(path)
    search = make_search(file)
    train, valid = batch(file, "_train"), batch(file, "_val")
    loss, gradient = search.first_order(train, valid)
    check(file, loss, file["val_loss_w"], OUTPUTS, "val_loss_w")
    check_alphas(file, gradient, "galpha_{}.first", GRADIENTS)
    momentum = packed(file, "buf")
    for name, parameter in search.model.named_parameters():
        if name in momentum:
            search.sgd.state[parameter]["momentum_buffer"] = momentum[name]
    loss, gradient = search.finite_difference(train, valid)
    check(file, loss, file["val_loss_unrolled"], STEPS, "val_loss_unrolled")
    check_alphas(file, gradient, "galpha_{}.fd", QUOTIENT)
    check_weights(file, search, search.weights, "w", 0.0)  # as they were


@cases("04_darts_steps*.npz")
@pytest.mark.parametrize(
    ("tag", "rule"),
    [
        ("first", Search.first_order),
        ("fd", Search.finite_difference),
        ("first_clip", Search.first_order),
    ],
)
def test_steps(path, tag, rule):
    file = load(path)
    search = make_search(file, file.meta.get(f"clip_{tag}", file.meta["clip"]))
    for i in range(file.meta["steps"]):
        train, valid = batch(file, "_train", i), batch(file, "_val", i)
        loss, gradient = rule(search, train, valid)
        check(file, loss, file[f"{tag}.val_loss"][i], STEPS, "val_loss")
        for kind, g in zip(SPACE.cells, gradient, strict=True):
            check(file, g, file[f"{tag}.galpha_{kind}"][i], STEPS, f"gradient {i}")
        search.arch_step(gradient)
        for kind, alpha in search.model.alpha.items():
            expected = file[f"{tag}.alpha_{kind}"][i + 1]
            check(file, alpha.detach(), expected, STEPS, f"alpha {i}")
        loss, norm = search.weight_step(train)
        check(file, loss, file[f"{tag}.train_loss"][i], STEPS, "train_loss")
        check(file, norm, file[f"{tag}.gnorm"][i], STEPS, "gnorm")
    if f"w_end_{tag}" in file:
        check_weights(file, search, search.weights, f"w_end_{tag}", STEPS)
