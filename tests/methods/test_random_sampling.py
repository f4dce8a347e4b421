"""Random sampling: what is trained, what is scored, and what is the result."""

import jax
import numpy as np
import pytest
from helpers import assert_close

from jdarts import Batch, SearchBatches, UserError, build_method, jit, make_supernet
from jdarts.methods.random_sampling import RandomSamplingConfig
from jdarts.spaces import TOY

EPOCHS, PER_EPOCH = 2, 7
# The second epoch scores three cells on two batches each; one step is left over.
CONFIG = RandomSamplingConfig(scored=0.5, cells=3)


def build(config):
    network = make_supernet(config, TOY, channels=2, layers=2, classes=3)
    return build_method(config, TOY, network, epochs=EPOCHS, steps_per_epoch=PER_EPOCH)


def batches(step):
    rng = np.random.default_rng(step)

    def batch():
        images = rng.normal(size=(4, 8, 8, 3)).astype(np.float32)
        return Batch(images, np.arange(4, dtype=np.int32) % 3)

    return SearchBatches(jax.tree.map(lambda x: x[None], batch()), batch())


def test_a_whole_search():
    """The weights stay as they are while cells are scored; the best mean loss wins."""
    method, key = build(CONFIG), jax.random.key(0)
    step, states, losses = jit(method.step), [], []
    states.append(method.init(key, batches(0).valid.images))
    for i in range(EPOCHS * PER_EPOCH):
        state, metrics = step(key, states[-1], batches(i))
        states.append(state)
        losses.append(float(metrics["valid_loss"]))
    for i, (old, new) in enumerate(zip(states, states[1:], strict=False)):
        pairs = zip(*(jax.tree.leaves((s.w, s.w_opt)) for s in (old, new)), strict=True)
        same = all(np.array_equal(a, b) for a, b in pairs)
        assert same == (i >= PER_EPOCH)
        pairs = zip(*(jax.tree.leaves(s.arch.alpha) for s in (old, new)), strict=True)
        if i < PER_EPOCH or (i - PER_EPOCH) % 2 == 0:
            assert all(np.array_equal(a, b) for a, b in pairs)
    scored = np.reshape(losses[PER_EPOCH : PER_EPOCH + 6], (3, 2)).mean(1)
    assert len(set(scored)) == 3
    for alpha in states[-1].arch.alpha.values():
        assert_close(alpha.max(), np.exp(-scored.min()), 1e-5)
    found = method.discretize(states[-1].arch)
    best = states[PER_EPOCH + 2 * int(scored.argmin()) + 2]  # after its second batch
    assert found == method.discretize(best.arch)


def test_no_more_cells_than_steps():
    """Of few steps each scores its own cell."""
    method, key = build(RandomSamplingConfig(scored=0.5)), jax.random.key(0)
    step, state = jit(method.step), method.init(key, batches(0).valid.images)
    losses = []
    for i in range(EPOCHS * PER_EPOCH):
        state, metrics = step(key, state, batches(i))
        losses.append(float(metrics["valid_loss"]))
    best = max(float(alpha.max()) for alpha in state.arch.alpha.values())
    assert best == pytest.approx(np.exp(-min(losses[PER_EPOCH:])), rel=1e-5)


def test_bad_settings(monkeypatch):
    with pytest.raises(UserError, match="--method.cells: 0; expected >= 1"):
        build(RandomSamplingConfig(cells=0))
    with pytest.raises(UserError, match="--method.scored: 1; expected .* below 1"):
        build(RandomSamplingConfig(scored=1))
    monkeypatch.setattr(f"{__name__}.EPOCHS", 1)
    with pytest.raises(UserError, match="--epochs: 1, but .* expected at least 2"):
        build(CONFIG)
