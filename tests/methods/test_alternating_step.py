"""The alternating step on losses of numbers: what it reads, in which order, how often.

A weight w, an architecture a, batches of one number. Nothing is compiled.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from number_network import KEY, W, brightness, image_batches, network, step_of

from jdarts import (
    METHODS,
    Arch,
    HypergradientConfig,
    SearchBatches,
    build_method,
    make_hypergradient,
)
from jdarts.methods.base import Training, alternating_step, init_state
from jdarts.problem import BilevelProblem
from jdarts.relaxation import Relaxation
from jdarts.spaces import TOY

A, RATE, VIRTUAL, ARCH_RATE = 0.25, 0.125, 0.5, 0.0625
TRAIN, VALID = (2.0, 3.0, 5.0), 7.0


def batches():
    return SearchBatches(jnp.array(TRAIN), jnp.array(VALID))


def loss_of(w, a, x):
    return 0.5 * (w - a * x) ** 2


class Notes:
    """A problem that notes with which batch and key each loss was asked for."""

    def __init__(self):
        self.seen = []

    def note(self, what, now, batch):
        if isinstance(now.key, jax.core.Tracer):
            return  # in a branch that depends on the step
        self.seen.append((what, tuple(jax.random.key_data(now.key).tolist()), batch))

    def keys(self, what):
        return [key for name, key, _ in self.seen if name == what]

    def problem(self):
        def loss(w, arch, batch, now=None):
            self.note("virtual", now, batch)
            return loss_of(w["w"], arch.alpha["a"], batch)

        def valid_loss(w, arch, batch, now=None):
            self.note("valid", now, batch)
            return loss_of(w["w"], arch.alpha["a"], batch), jnp.float32(41)

        def train_loss(w, model_state, arch, batch, now=None):
            self.note("train", now, batch)
            found = loss_of(w["w"], arch.alpha["a"], batch)
            return found, (model_state + 1, found)

        return BilevelProblem(
            init=lambda key, example: ({"w": jnp.array(W)}, jnp.float32(0)),
            loss=loss,
            valid_loss=valid_loss,
            train_loss=train_loss,
            evaluate=lambda *_: None,
            prepare=lambda state, train, valid, now: (train, valid),
            keep=lambda model_state, carried: model_state + carried,
            rate=lambda step: 1.0,
        )


RELAXATION = Relaxation(
    init=lambda key, space: Arch({"a": jnp.array(A)}, {}),
    weights=lambda arch, now=None: arch.alpha,
    project=lambda arch: arch,
)
TRAINING = Training(
    weights=optax.sgd(RATE),
    virtual=optax.sgd(VIRTUAL),
    arch=optax.sgd(ARCH_RATE),
    schedule=lambda step: jnp.array(RATE),
)


def run(notes, name="first_order", steps=1, given=None, **options):
    """The states before and after each step, and the metrics."""
    problem = notes.problem()
    virtual = None if name == "first_order" else 3
    step = alternating_step(
        problem,
        RELAXATION,
        make_hypergradient(HypergradientConfig(name, virtual)),
        TRAINING,
        **options,
    )
    state = init_state(problem, RELAXATION, TRAINING, TOY)(KEY, None)
    states, metrics = [state], []
    for _ in range(steps):
        state, found = step(KEY, state, given or batches())
        states.append(state)
        metrics.append(found)
    return states, metrics


def at(state):
    return float(state.w["w"]), float(state.arch.alpha["a"])


@pytest.mark.parametrize("name", ["first_order", "unrolled"])
@pytest.mark.parametrize("simultaneous", [False, True])
def test_which_batches_are_read(name, simultaneous):
    """Of K = 3 virtual steps number k reads batch k; the real one reads the first."""

    def outer(a):
        w = jnp.array(W)
        for x in TRAIN if name == "unrolled" else ():
            w = w - VIRTUAL * jax.grad(loss_of)(w, a, x)
        return loss_of(w, a, VALID)

    value, slope = jax.value_and_grad(outer)(A)
    states, (metrics,) = run(Notes(), name, simultaneous=simultaneous)
    w, a = at(states[1])
    np.testing.assert_allclose(a, A - ARCH_RATE * slope, rtol=1e-5)
    used = A if simultaneous else a
    gradient = W - used * TRAIN[0]
    np.testing.assert_allclose(w, W - RATE * gradient, rtol=1e-5)
    expected = {
        "train_loss": loss_of(W, used, TRAIN[0]),
        "valid_loss": value,
        "gradient_norm": abs(gradient),
        "arch_gradient_norm": abs(slope),
        "lr": RATE,
    }
    for key, number in expected.items():
        np.testing.assert_allclose(metrics[key], number, rtol=1e-5, err_msg=key)
    assert int(states[1].step) == 1
    assert float(states[1].model_state) == 42  # kept after the weight step's own


def test_every_step_has_keys_of_its_own():
    notes = Notes()
    run(notes, "unrolled", steps=3)
    valid, virtual, train = map(notes.keys, ("valid", "virtual", "train"))
    assert len(set(train)) == len(set(valid)) == 3
    assert set(virtual) == set(valid)  # one draw for all passes of a step
    assert not set(valid) & set(train)
    other = Notes()
    run(other, "unrolled", steps=1, simultaneous=True)
    assert len({key for _, key, _ in other.seen}) == 1  # one draw for both updates


def test_warmup_trains_the_weights_alone():
    states, metrics = run(Notes(), steps=3, warmup_steps=2)
    (_, before), (w, first), (_, second), (_, third) = map(at, states)
    assert before == first == second == A != third
    assert w != W
    assert [float(m["arch_gradient_norm"]) > 0 for m in metrics] == [False, False, True]


def test_a_penalty_is_added_and_differentiated():
    plain, (without,) = run(Notes())
    found, (metrics,) = run(Notes(), penalty=lambda arch: 4 * arch.alpha["a"])
    np.testing.assert_allclose(
        metrics["valid_loss"] - without["valid_loss"], 4 * A, rtol=1e-5
    )
    np.testing.assert_allclose(
        at(found[1])[1] - at(plain[1])[1], -ARCH_RATE * 4, rtol=1e-4
    )


def test_what_is_settled_sees_before_after_and_the_number_of_steps():
    seen = []

    def settle(before, after, steps):
        seen.append((float(before.alpha["a"]), float(after.alpha["a"]), int(steps)))
        return before

    states, _ = run(Notes(), steps=2, settle=settle)
    assert [steps for *_, steps in seen] == [1, 2]
    assert all(before == A != after for before, after, _ in seen)
    assert at(states[2])[1] == A


# --- methods on a network of numbers ---


def test_one_level_learns_from_the_training_batch():
    for seen in step_of("snas"):
        assert set(brightness(seen)) == {1.0}
        assert len({key for _, key, *_ in seen}) == 1  # one gradient, one draw


def test_two_levels_learn_from_both_halves():
    for seen in step_of("snas", bilevel=True):
        assert set(brightness(seen)) == {1.0, 4.0}


@pytest.mark.parametrize("name", ["darts", "fair_darts"])
def test_the_others_have_two_levels(name):
    options = {"hypergradient": HypergradientConfig("first_order")}
    for seen in step_of(name, **options):
        assert set(brightness(seen)) == {1.0, 4.0}


@pytest.mark.parametrize("name", ["darts", "gdas"])
def test_networks_get_a_key_of_the_step(name):
    options = {}
    if name == "darts":
        options = {"hypergradient": HypergradientConfig("first_order")}
    first, second = step_of(name, **options)
    keys = [{key for _, key, *_ in seen if key is not None} for seen in (first, second)]
    assert keys[0] and keys[1] and not keys[0] & keys[1]


def test_drop_rates_reach_the_network():
    seen = []
    dropping = network(seen)._replace(drop_rate=lambda step: 0.25 * (step + 1))
    config = METHODS["darts"].config(hypergradient=HypergradientConfig("first_order"))
    method = build_method(config, TOY, dropping, epochs=4, steps_per_epoch=1)
    state = method.init(KEY, jnp.zeros((2, 1, 1, 1)))
    for expected in (0.25, 0.5):
        seen.clear()
        state, _ = method.step(KEY, state, image_batches())
        assert {rate for _, _, rate, *_ in seen} == {expected}
    seen.clear()  # in evaluation nothing is random
    method.evaluate(state, image_batches().valid, jnp.ones(2))
    assert [(key, rate, train) for _, key, rate, _, train in seen] == [
        (None, None, False)
    ]
