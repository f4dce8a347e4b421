"""Edges with their own primitives: the mixture of all, without what they lack."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close

from jdarts import jit, supernet
from jdarts.nets.cell import MixedSource
from jdarts.nets.cost import weights_of_op
from jdarts.nets.uneven import UnevenSource
from jdarts.ops.init import draw
from jdarts.spaces import TOY

PRIMITIVES = ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5")
PRIMITIVES += ("dil_conv_3x3",)
EDGES = (
    ("none", "sep_conv_5x5", "dil_conv_3x3"),
    ("max_pool_3x3", "skip_connect"),
    ("skip_connect", "sep_conv_3x3", "sep_conv_5x5"),
)
OFFERED = tuple(tuple(name in own for name in PRIMITIVES) for own in EDGES)
X = jax.random.normal(jax.random.key(0), (2, 4, 4, 2))
GROUPS = {2: ("sep_conv_3x3", "sep_conv_5x5"), 1: ("dil_conv_3x3",)}


def rows(stages):
    """``(edge, op)`` of each row of a group of separable ops: edge by edge."""
    ops = GROUPS[stages]
    return [(e, op) for e, own in enumerate(EDGES) for op in ops if op in own]


def spread(own, full, stages):
    """Variables of a group in the places that they have where every edge has all."""
    ops, order, count = GROUPS[stages], rows(stages), len(EDGES)
    for name, value in full.items():
        if "depthwise" in name:
            op = name.rsplit("_depthwise", 1)[0]
            edges = [e for e, other in order if other == op]
            full[name] = value.at[np.array(edges)].set(own[name])
        elif name.startswith("pointwise"):
            places = [ops.index(op) * count + e for e, op in order]
            full[name] = value.at[np.array(places)].set(own[name])
    return full


@pytest.mark.parametrize("stride", [1, 2])
def test_as_the_mixture_of_all(stride):
    """Values, gradients and running statistics, at weights 0 of what is not there."""
    uneven = UnevenSource(PRIMITIVES, OFFERED, stride)
    mixed = MixedSource(PRIMITIVES, stride)
    weights = jax.random.uniform(jax.random.key(1), (3, len(PRIMITIVES)))
    weights = weights * np.array(OFFERED)
    made = []
    for module in (uneven, mixed):
        shape = jax.eval_shape(
            lambda key, m=module: m.init(key, X, weights, train=False),
            jax.random.key(2),
        )
        made.append({k: draw(jax.random.key(2), tree) for k, tree in shape.items()})
    own, full = made
    for stages in GROUPS:
        name = f"separable_{stages}"
        full["params"][name] = spread(own["params"][name], full["params"][name], stages)
    if stride == 2:
        halved = own["params"]["skip_connect"]
        full["params"]["skip_connect"] = jax.tree.map(
            lambda f, o: f.at[1:].set(o), full["params"]["skip_connect"], halved
        )

    def run(module):
        @jit
        def run(variables, x, weights):
            def loss(x, weights):
                y, new = module.apply(
                    variables, x, weights, train=True, mutable=["batch_stats"]
                )
                return (jnp.sin(jnp.arange(y.size)) * y.ravel()).sum(), (y, new)

            found = jax.value_and_grad(loss, (0, 1), has_aux=True)(x, weights)
            (_, (y, new)), (gx, gw) = found
            after = {"params": variables["params"], **new}
            held = module.apply(after, x, weights, train=False)
            return y, gx, gw * np.array(OFFERED), held

        return run

    found, expected = run(uneven)(own, X, weights), run(mixed)(full, X, weights)
    for a, b, what in zip(
        found, expected, ("value", "in x", "in weights", "evaluated"), strict=True
    ):
        assert_close(a, b, 1e-4, what)


def test_only_own_weights():
    """A network has weights of the ops that its edges have, and no others."""
    kept = (("none", "sep_conv_3x3"), ("none", "skip_connect"), ("sep_conv_3x3",)) + (
        ("skip_connect", "sep_conv_3x3"),
        ("none", "skip_connect"),
    )
    cells = {"normal": dataclasses.replace(TOY.cells["normal"], edge_primitives=kept)}
    space = dataclasses.replace(TOY, cells=cells, reductions=())
    counts = []
    for one in (dataclasses.replace(TOY, reductions=()), space):
        network = supernet(one, channels=4, layers=3, classes=3)
        w, _ = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
        counts.append(sum(leaf.size for leaf in jax.tree.leaves(w)))
    assert counts[0] - counts[1] == 3 * 2 * weights_of_op("sep_conv_3x3", 4)
