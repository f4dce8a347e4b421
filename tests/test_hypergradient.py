"""Hypergradients of a quadratic bilevel problem, against its closed form, in float64.

Inner loss 1/2 w'Aw - w'Ba (A symmetric), outer loss 1/2 |w - c|^2: one step of gradient
descent maps w to (I - lr A) w + lr B a, so that d w_K / d a is a sum of powers.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_close

from jdarts import HypergradientConfig, UserError, jit, make_hypergradient
from jdarts.hypergradient import (
    HYPERGRADIENTS,
    finite_difference,
    first_order,
    neumann,
    unrolled_forward,
    unrolled_reverse,
)

pytestmark = pytest.mark.usefixtures("x64")

RANDOM = np.random.default_rng(0)
N, M, LR = 5, 3, 0.1
_ROOT = RANDOM.normal(size=(N, N))
A = _ROOT @ _ROOT.T / N + np.eye(N)
B = RANDOM.normal(size=(N, M))
C, W, ARCH = (RANDOM.normal(size=n) for n in (N, N, M))
SHIFTS = RANDOM.normal(size=(4, N))  # a batch shifts the inner problem
OUTER_SHIFT = RANDOM.normal(size=N)

OPTIMIZERS = {
    "sgd": optax.sgd(LR),
    "momentum": optax.sgd(LR, momentum=0.9),
    "nesterov": optax.sgd(LR, momentum=0.9, nesterov=True),
    "decay": optax.chain(optax.add_decayed_weights(0.05), optax.sgd(LR, momentum=0.5)),
    "adam": optax.adam(LR),
    "schedule": optax.sgd(optax.exponential_decay(LR, 1, 0.7)),
}
MODES = {"forward": unrolled_forward, "reverse": unrolled_reverse}


def inner_loss(w, arch, batch):
    w, a = w["w"], arch["a"]
    return 0.5 * w @ A @ w - w @ (B @ a) + w @ batch


def outer_loss(w, arch, batch):
    return 0.5 * jnp.sum((w["w"] - C - batch) ** 2) + 0.1 * jnp.sum(arch["a"] ** 2)


def make_step(name):
    optimizer = OPTIMIZERS[name]

    def step(w, opt_state, gradient):
        updates, opt_state = optimizer.update(gradient, opt_state, w)
        return optax.apply_updates(w, updates), opt_state

    return optimizer, step


def start(name):
    """Weights, and an optimiser's state that has seen two gradients."""
    optimizer, step = make_step(name)
    w = {"w": jnp.asarray(W)}
    state = optimizer.init(w)
    for g in SHIFTS[2:]:
        _, state = step(w, state, {"w": jnp.asarray(g)})
    return w, state


def take(rule, name="sgd", steps=1, arch=ARCH):
    w, state = start(name)
    return jit(
        lambda arch: rule(
            inner_loss,
            outer_loss,
            make_step(name)[1],
            w,
            state,
            arch,
            jnp.asarray(SHIFTS[:steps]),
            jnp.asarray(OUTER_SHIFT),
        )
    )({"a": jnp.asarray(arch)})


def closed_form(steps):
    """Value and derivative of the outer loss at w_K, for plain gradient descent."""
    w, slope = W, np.zeros((N, M))
    for k in range(steps):
        w = w - LR * (A @ w - B @ ARCH + SHIFTS[k])
        slope = slope - LR * (A @ slope - B)
    off = w - C - OUTER_SHIFT
    return 0.5 * off @ off + 0.1 * ARCH @ ARCH, slope.T @ off + 0.2 * ARCH


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("mode", MODES)
def test_closed_form(mode, steps):
    value, gradient = take(MODES[mode](steps), steps=steps)
    expected_value, expected = closed_form(steps)
    assert_close(value, expected_value, 1e-13)
    assert_close(gradient["a"], expected, 1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("steps", [1, 3])
def test_differences_of_the_outer_loss(name, steps):
    """Through any optimiser, from a state that is not fresh; both modes alike."""
    w, state = start(name)
    step = make_step(name)[1]

    @jit
    def reached(a):
        virtual, opt = w, state
        for k in range(steps):
            gradient = jax.grad(inner_loss)(virtual, {"a": a}, SHIFTS[k])
            virtual, opt = step(virtual, opt, gradient)
        return outer_loss(virtual, {"a": a}, OUTER_SHIFT)

    h = 1e-5  # quadratic (nearly so with Adam): rounding 1e-16 / h is what is left
    differences = np.array(
        [
            (reached(ARCH + h * unit) - reached(ARCH - h * unit)) / (2 * h)
            for unit in np.eye(M)
        ]
    )
    forward, reverse = (
        take(MODES[mode](steps), name, steps) for mode in ("forward", "reverse")
    )
    assert_close(reverse[0], reached(ARCH), 1e-13)
    assert_close(reverse[1]["a"], differences, 1e-7)
    assert_close(forward, reverse, 1e-12)


def test_first_order():
    value, gradient = take(first_order)
    off = W - C - OUTER_SHIFT
    assert_close(value, 0.5 * off @ off + 0.1 * ARCH @ ARCH, 1e-13)
    assert_close(gradient["a"], 0.2 * ARCH, 1e-13)


@pytest.mark.parametrize("name", ["sgd", "momentum", "decay", "adam"])
@pytest.mark.parametrize("radius", [1e-2, 1.0])
def test_quotient_is_exact_where_the_inner_loss_is_quadratic(name, radius):
    exact = take(unrolled_reverse(1), name)
    assert_close(take(finite_difference(radius), name), exact, 1e-10)


@pytest.mark.parametrize("terms", [1, 2, 5, 400])
def test_neumann(terms):
    """``0.2 a + B' sum_{j < terms} scale (I - scale A)^j (w - c)``, at last exact."""
    scale = 0.2
    value, gradient = take(neumann(terms, scale))
    off = W - C - OUTER_SHIFT
    powers = [np.linalg.matrix_power(np.eye(N) - scale * A, j) for j in range(terms)]
    expected = 0.2 * ARCH + B.T @ (scale * sum(powers)) @ off
    assert_close(value, 0.5 * off @ off + 0.1 * ARCH @ ARCH, 1e-13)
    assert_close(gradient["a"], expected, 1e-12)
    implicit = 0.2 * ARCH + B.T @ np.linalg.solve(A, off)
    error = np.abs(gradient["a"] - implicit).max()
    assert (error < 1e-10) == (terms == 400)


def test_inner_steps_matter():
    """Tests above could pass if steps and batches were ignored."""
    gradients = [take(unrolled_reverse(k), steps=k)[1]["a"] for k in (1, 2, 3)]
    gradients.append(take(first_order)[1]["a"])
    for i, one in enumerate(gradients):
        for other in gradients[:i]:
            assert np.abs(one - other).max() > 1e-2


def test_reverse_traces_the_inner_step_once():
    chex.clear_trace_counter()
    step = chex.assert_max_traces(make_step("sgd")[1], n=1)
    w, state = start("sgd")
    jit(
        lambda arch: unrolled_reverse(3)(
            inner_loss,
            outer_loss,
            step,
            w,
            state,
            arch,
            jnp.asarray(SHIFTS[:3]),
            jnp.asarray(OUTER_SHIFT),
        )
    )({"a": jnp.asarray(ARCH)})
    with pytest.raises(AssertionError, match="traced > 1 times"):
        jit(step)(w, state, w)  # it was traced, and that was counted


def broadcasting(w, opt_state, gradient):
    w, opt_state = make_step("sgd")[1](w, opt_state, gradient)
    return jax.tree.map(lambda x: x[None], w), opt_state


def promoting(w, opt_state, gradient):
    w, opt_state = make_step("sgd")[1](w, opt_state, gradient)
    return jax.tree.map(lambda x: x.astype(jnp.complex64), w), opt_state


@pytest.mark.parametrize("step", [broadcasting, promoting], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "rule",
    [unrolled_reverse(1), unrolled_forward(1), finite_difference(0.01)],
    ids=["reverse", "forward", "finite difference"],
)
def test_an_inner_step_keeps_the_form_of_the_weights(rule, step):
    w, state = start("sgd")
    arch, shift = {"a": jnp.asarray(ARCH)}, jnp.asarray(OUTER_SHIFT)
    batches = jnp.asarray(SHIFTS[:1])
    with pytest.raises(AssertionError, match="not equal|differ"):
        rule(inner_loss, outer_loss, step, w, state, arch, batches, shift)


# --- configuration ------------------------------------------------------------------

CONFIGS = {
    "first_order": HypergradientConfig("first_order"),
    "unrolled": HypergradientConfig("unrolled"),
    "forward": HypergradientConfig("unrolled", steps=1, mode="forward"),
    "reverse": HypergradientConfig("unrolled", steps=1, mode="reverse"),
    "finite_difference": HypergradientConfig("finite_difference", radius=0.5),
    "neumann": HypergradientConfig("neumann", terms=1, scale=LR),
}


def test_every_row_is_tested():
    assert {config.name for config in CONFIGS.values()} == set(HYPERGRADIENTS)


@pytest.mark.parametrize("name", CONFIGS)
def test_configured(name):
    rule = make_hypergradient(CONFIGS[name])
    _, gradient = take(rule)
    expected = 0.2 * ARCH if name == "first_order" else closed_form(1)[1]
    if name == "neumann":  # one term: the unrolled step's, but at the old weights
        expected = 0.2 * ARCH + LR * B.T @ (W - C - OUTER_SHIFT)
    assert_close(gradient["a"], expected, 1e-10)


def test_virtual_steps():
    assert HypergradientConfig().virtual_steps == 1
    assert HypergradientConfig("unrolled", steps=3).virtual_steps == 3
    _, gradient = take(make_hypergradient(HypergradientConfig(steps=3)), steps=3)
    assert_close(gradient["a"], closed_form(3)[1], 1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "first_order", "steps": 1}, "steps: has no effect"),
        ({"name": "first_order", "mode": "reverse"}, "mode: has no effect"),
        ({"name": "first_order", "radius": 0.1}, "radius: has no effect"),
        ({"name": "finite_difference", "steps": 2}, "steps: has no effect"),
        ({"name": "finite_difference", "mode": "forward"}, "mode: has no effect"),
        ({"name": "unrolled", "radius": 0.01}, "radius: has no effect"),
        ({"name": "unrolled", "steps": 0}, "steps: 0"),
        ({"name": "unrolled", "steps": -1}, "steps: -1"),
        ({"name": "unrolled", "mode": "revers"}, "did you mean 'reverse'"),
        ({"name": "finite_difference", "radius": 0.0}, "radius: 0.0"),
        ({"name": "finite_difference", "radius": float("nan")}, "radius: nan"),
        ({"name": "neumann", "terms": 0}, "terms: 0"),
        ({"name": "neumann", "scale": -1.0}, "scale: -1.0"),
        ({"name": "neumann", "steps": 2}, "steps: has no effect"),
        ({"name": "unroled"}, "did you mean 'unrolled'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(UserError, match=message):
        make_hypergradient(HypergradientConfig(**options))
