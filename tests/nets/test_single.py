"""Single-op edges against the mixture of all ops."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close

from jdarts import jit, supernet
from jdarts.spaces import TOY

IMAGES = jax.random.normal(jax.random.key(1), (3, 8, 8, 3))
# All kinds of ops: without weights, separable, dense, along lines.
_OPS = ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3", "conv_1x1")
_SPEC = dataclasses.replace(TOY.cells["normal"], primitives=_OPS)
SPACE = dataclasses.replace(
    TOY, cells={"normal": _SPEC, "reduce": dataclasses.replace(_SPEC, stride=2)}
)


@pytest.fixture(scope="module")
def both():
    """(network, w, model state, the same mixing weights in each, what each makes)."""
    network = supernet(SPACE, channels=2, layers=3, classes=3)
    w, state = network.init(jax.random.key(0), IMAGES)
    random, mix = np.random.default_rng(5), {}
    for kind, spec in SPACE.cells.items():
        rows = np.zeros((len(spec.edges), len(spec.primitives)), np.float32)
        for edge, op in enumerate(random.permutation(len(rows))):
            rows[edge, op % len(_OPS)] = random.uniform(0.5, 1)
        mix[kind] = jnp.asarray(rows)
    mix["normal"] = mix["normal"].at[-1].set(0)

    def loss(apply, w, mix):
        logits, after = apply(w, state, mix, IMAGES, True)
        return jnp.square(logits).sum(), (logits, after)

    def run(apply):
        derive = jax.grad(lambda *args: loss(apply, *args), (0, 1), has_aux=True)
        return jit(derive)(w, mix)

    return network, w, state, mix, run(network.apply), run(network.apply_single)


def test_values_and_gradients(both):
    *_, mix, ((gw, gmix), (logits, _)), ((single_gw, single_gmix), (single, _)) = both
    assert_close(single, logits, 1e-5)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(gw))
    for a, b in zip(jax.tree.leaves(gw), jax.tree.leaves(single_gw), strict=True):
        assert np.abs(a - b).max() <= 1e-5 * largest
    for kind in mix:
        none = np.array(_OPS) == "none"
        chosen = (mix[kind] > 0) & ~none
        assert_close(single_gmix[kind] * chosen, gmix[kind] * chosen, 1e-4)
        assert not (single_gmix[kind] * ~chosen).any()


def test_running_statistics_of_chosen_ops_alone(both):
    _, _, state, _, (_, (_, after)), (_, (_, single)) = both
    kept = moved = 0
    for path, leaf in jax.tree.leaves_with_path(single):
        old, all_ops = state, after
        for key in path:
            old, all_ops = old[key.key], all_ops[key.key]
        for new, before, expected in zip(leaf, old, all_ops, strict=True):
            if np.array_equal(new, before):
                kept += 1
            else:
                moved += 1
                assert_close(new, expected, 1e-5)
    assert kept > 10 and moved > 10


def test_evaluation(both):
    network, w, _, mix, _, (_, (_, state)) = both
    run = [
        jit(apply, static_argnums=4)(w, state, mix, IMAGES, False)
        for apply in (network.apply, network.apply_single)
    ]
    assert_close(run[1][0], run[0][0], 1e-5)
    assert_close(run[1][1], state, 0.0)


def test_other_ops_are_not_computed(both):
    """Weights that are no numbers do not show."""
    network, w, state, mix, *_ = both
    cell = dict(w["cell_0"])
    used = [e for e, _ in enumerate(mix["normal"]) if mix["normal"][e, 4] > 0]
    sources = {SPACE.cells["normal"].edges[e][0] for e in used}
    unused = next(s for s in range(3) if s not in sources)
    name = f"source_{unused}"
    poison = jax.tree.map(lambda a: a * jnp.nan, cell[name]["conv_1x1"])
    cell[name] = {**cell[name], "conv_1x1": poison}
    poisoned = {**w, "cell_0": cell}
    for apply, finite in ((network.apply, False), (network.apply_single, True)):
        logits, _ = jit(apply, static_argnums=4)(poisoned, state, mix, IMAGES, False)
        assert jnp.isfinite(logits).all() == finite
