"""The benchmarks' derived network in PyTorch is the one that jdarts trains."""

import numpy as np
import pytest
from fixed_files import genotype_of, whole_loss
from golden import cases, check, load
from helpers import torch_or_skip

torch = torch_or_skip()

import torch_fixed  # noqa: E402
from torch_baseline import Batch  # noqa: E402
from torch_plan import derived_plan  # noqa: E402

torch.set_num_threads(1)  # of tiny tensors, beside other tests

OUTPUTS, GRADIENTS, STATISTICS = 1e-9, 1e-7, 1e-9
ENDS = {
    "scale": "weight",
    "shift": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def own_name(name):
    """``cell0.op1.bn1.scale`` of the files -> ``cells.0.ops.1.op.bn1.weight``."""
    parts = name.split(".")
    if parts[0].startswith("cell"):
        parts[:1] = ["cells", parts[0].removeprefix("cell")]
        if parts[2].startswith("op"):
            parts[2:3] = ["ops", parts[2].removeprefix("op"), "op"]
    if parts[0] == "aux" and parts[1] != "head":
        parts.insert(1, "features")
    if parts[-1] in ENDS:
        parts[-1] = ENDS[parts[-1]]
    elif "head" not in parts:
        parts.append("weight")
    return ".".join(parts)


def make_training(file):
    meta = file.meta
    plan = derived_plan(
        genotype_of(meta["genotype"]), meta["C"], meta["layers"], meta["classes"]
    )
    if not meta["auxiliary"]:
        plan["aux_cell"] = None
    model = torch_fixed.Derived(plan).double()
    tensors = file.unpack("w") | file.unpack("stats", file.stats_index)
    values = {own_name(n): torch.from_numpy(np.array(t)) for n, t in tensors.items()}
    found = model.state_dict()
    counters = {name for name in found if name.endswith("num_batches_tracked")}
    assert values.keys() == found.keys() - counters
    model.load_state_dict(values, strict=False)
    return torch_fixed.Training(model)


def batch(file):
    y = torch.from_numpy(np.array(file["y"])).long()
    return Batch(torch.from_numpy(np.array(file["x"])), y)


@cases("08_eval_*.npz")
def test_outputs_gradients_and_statistics(path):
    file, what = load(path), "torch"
    training, b = make_training(file), batch(file)
    model = training.model.eval()
    with torch.no_grad():
        logits, auxiliary = model(b.images)
    check(file, logits, file["eval.logits"], OUTPUTS, what)
    if file.meta["auxiliary"]:
        check(file, auxiliary, file["eval.aux_logits"], OUTPUTS, what)
    model.train()
    if file.meta["auxiliary"]:
        loss = training.loss(b)
    else:
        loss = torch.nn.functional.cross_entropy(model(b.images)[0], b.labels)
    check(file, loss.detach(), file[whole_loss(file)], OUTPUTS, what)
    loss.backward()
    named = dict(model.named_parameters())
    norms = [float(named[own_name(name)].grad.norm()) for name, _ in file.index]
    check(file, np.array(norms), file["train.grad_norms"], GRADIENTS, what)
    after = file.unpack("stats_after_train", file.stats_index)
    state = model.state_dict()
    pairs = [(state[own_name(name)].numpy(), value) for name, value in after.items()]
    flat = [
        np.concatenate([v.ravel() for v in side]) for side in zip(*pairs, strict=True)
    ]
    check(file, *flat, STATISTICS, what)


def test_drop_path_keeps_the_expectation():
    connection = torch_fixed.Connection("max_pool_3x3", 2, 1)
    torch.manual_seed(0)
    out = connection(torch.ones(4000, 2, 3, 3), 0.25)
    assert out.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert float(out.mean()) == pytest.approx(1.0, abs=0.05)
    identity = torch_fixed.Connection("skip_connect", 2, 1)
    assert (identity(torch.ones(50, 2, 3, 3), 0.25) == 1).all()
