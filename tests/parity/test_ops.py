"""Single operations: values, input gradients, weight gradients, ties."""

import jax
import jax.numpy as jnp
from golden import cases, check, files, from_tree, images, load, to_tree

from jdarts import jit
from jdarts.ops import OPS, make_op
from jdarts.ops.pool import max_pool
from jdarts.ops.windows import Window

TOLERANCE = 1e-10
FILES = "01_ops_*.npz"
# Of GDAS' reduction cell, which none of the programs behind the files has.
ELSEWHERE = {"group_conv_3x1_1x3", "max_pool_3x3_bn", "noise"}


def split_key(key):
    """``max_pool_3x3_bn.s2`` -> ("max_pool_3x3", True, 2)."""
    op, stride = key.rsplit(".s", 1)
    name = op.removesuffix("_bn")
    if name.startswith("sep_") and not name.startswith("sep_conv_"):
        name = name.replace("sep_", "sep_conv_")  # as NASP calls it
    return name, op.endswith("_bn"), int(stride)


def part_name(name, op):
    """A tensor of an op; that of a dense convolution has another layout."""
    return "dense" if op in ("conv_1x1", "conv_3x3") else name


def test_every_row_has_a_golden_case():
    keys = [key for path in files(FILES) for key in load(path).meta["ops"]]
    known = {split_key(key)[0] for key in keys}
    assert known == set(OPS) - ELSEWHERE


def run_op(key, x, projection, w):
    """Value and derivatives of sum(out * R), in our layout."""
    name, normalise, stride = split_key(key)
    op = make_op(
        name,
        edges=1,
        channels=x.shape[-1],
        stride=stride,
        normalise_pools=normalise,
    )

    def project(x, w):
        out = op.apply({"params": w}, x, train=True)
        return (out * projection).sum(), out[0]

    (_, out), (gx, gw) = jax.value_and_grad(project, argnums=(0, 1), has_aux=True)(x, w)
    return out, gx, gw


@cases(FILES)
def test_operations(path):
    file = load(path)
    x = images(file["x"])
    jobs, names = {}, {}
    for key in file.meta["ops"]:
        op, normalise, stride = split_key(key)
        if OPS[op] is None:  # adds nothing to a node
            assert not file[f"{key}.out"].any() and not file[f"{key}.gx"].any()
            continue
        prefix = f"{key}.w."
        names[key] = [n.removeprefix(prefix) for n in file if n.startswith(prefix)]
        module = make_op(op, edges=1, channels=x.shape[-1], stride=stride)
        made = jax.eval_shape(
            lambda x, m=module: m.init(jax.random.key(0), x, train=True), x
        )
        template = jax.tree.map(
            lambda box: box.value,
            made.get("params", {}),
            is_leaf=lambda box: hasattr(box, "value"),
        )
        w = to_tree({part_name(n, op): file[prefix + n] for n in names[key]}, template)
        jobs[key] = (images(file[f"R.s{stride}"]), w)
    run = jit(lambda x, jobs: {k: run_op(k, x, *args) for k, args in jobs.items()})
    for key, (out, gx, gw) in run(x, jobs).items():
        check(file, out, images(file[f"{key}.out"]), TOLERANCE, key)
        check(file, gx, images(file[f"{key}.gx"]), TOLERANCE, key)
        op = split_key(key)[0]
        expected = {part_name(n, op): file[f"{key}.g.{n}"] for n in names[key]}
        check(file, from_tree(gw, expected), expected, TOLERANCE, key)


@cases(FILES)
def test_ties_of_the_maximum(path):
    """All cells equal: the first of the window gets the whole gradient."""
    file = load(path)
    keys = [
        n.removesuffix(".R") for n in file if n.startswith("ties.") and n[-1] == "R"
    ]
    assert keys
    for key in keys:
        op, stride = key.removeprefix("ties.max_pool_").rsplit(".s", 1)
        window = Window(int(op.split("x")[0]), int(stride))
        ones = jnp.ones(images(file[f"{key}.gx"]).shape)
        projection = images(file[f"{key}.R"])
        gx = jax.grad(lambda x, w=window, r=projection: (max_pool(x, w) * r).sum())(
            ones
        )
        check(file, gx, images(file[f"{key}.gx"]), TOLERANCE, key)
