"""The scalar bilevel problem of the DARTS paper: whole trajectories."""

import jax
import jax.numpy as jnp
import pytest
from golden import cases, check, load

from jdarts.hypergradient import finite_difference, unrolled_forward, unrolled_reverse

TOLERANCE = 1e-12
RULES = {
    "forward": (unrolled_forward(1), TOLERANCE),
    "reverse": (unrolled_reverse(1), TOLERANCE),
    # Exact for quadratic losses but for rounding, about 1e-16 / radius.
    "finite_difference": (finite_difference(1e-2), 1e-10),
}


def train_loss(w, alpha, batch):
    return w**2 - 2 * alpha * w + alpha**2


def valid_loss(w, alpha, batch):
    return alpha * w - 2 * alpha + 1


def trajectory(rule, xi, start, outer_lr, inner_lr, steps):
    """Columns of (alpha, w), hypergradients, both losses."""

    def inner_step(w, opt_state, gradient):
        return w - xi * gradient, opt_state

    def losses(alpha, w):
        return valid_loss(w, alpha, None), train_loss(w, alpha, None)

    def step(state, _):
        alpha, w = state
        _, h = rule(
            train_loss,
            valid_loss,
            inner_step,
            w,
            (),
            alpha,
            jnp.zeros(1),
            jnp.zeros(()),
        )
        alpha = alpha - outer_lr * h
        w = w - inner_lr * jax.grad(train_loss)(w, alpha, None)
        return (alpha, w), (jnp.stack([alpha, w]), h, *losses(alpha, w))

    _, (path, h, valid, train) = jax.lax.scan(step, start, length=steps)
    first = (jnp.stack(start), *losses(*start))
    path, valid, train = (
        jnp.concatenate([a[None], b])
        for a, b in zip(first, (path, valid, train), strict=True)
    )
    return path, h, valid, train


@cases("10_toy_bilevel*.npz")
@pytest.mark.parametrize("rule", RULES)
def test_trajectories(path, rule):
    file = load(path)
    hypergradient, tolerance = RULES[rule]
    xi = jnp.asarray(file["xi"])
    for config in file.meta["configs"]:
        name = config["name"]
        start = (jnp.float64(config["a0"]), jnp.float64(config["w0"]))
        run = jax.jit(
            jax.vmap(
                lambda xi, start=start, config=config: trajectory(
                    hypergradient,
                    xi,
                    start,
                    config["outer_lr"],
                    config["inner_lr"],
                    file.meta["steps"],
                )
            )
        )
        names = ("trajectory", "hypergradient", "val_loss", "train_loss")
        for found, what in zip(run(xi), names, strict=True):
            expected = file[f"{name}.{what}"]
            for i in range(len(xi)):
                label = f"{name}.{what}, xi = {xi[i]}"
                check(file, found[i], expected[i], tolerance, label)
