"""Hypergradients of the search network through one momentum step."""

import functools
from typing import Any, NamedTuple

import jax
import optax
from golden import (
    arch,
    arch_names,
    batch,
    cases,
    check,
    check_packed,
    file_problem,
    load,
    weights,
)
from helpers import relative_error

from jdarts import tree
from jdarts.hypergradient import (
    finite_difference,
    first_order,
    unrolled_forward,
    unrolled_reverse,
)
from jdarts.methods.optimizers import (
    WeightOptimizer,
    cosine_by_epoch,
    weight_transformation,
)

FILES = "03_darts_second_order*.npz", "06_pcdarts_second_order*.npz"
EXACT, QUOTIENT = 1e-8, 1e-7


class Case(NamedTuple):
    """A file as the arguments of a hypergradient."""

    file: Any
    loss: Any
    step: Any
    w: Any
    opt_state: Any
    arch: Any
    train: Any
    valid: Any

    def take(self, hypergradient):
        train = jax.tree.map(lambda x: x[None], self.train)
        return hypergradient(
            self.loss,
            self.loss,
            self.step,
            self.w,
            self.opt_state,
            self.arch,
            train,
            self.valid,
        )

    @functools.cache  # noqa: B019 (few cases, all of them kept anyway)
    def virtual(self):
        """(w', value and derivatives of the validation loss there)."""
        gradient = jax.grad(self.loss)(self.w, self.arch, self.train)
        w, _ = self.step(self.w, self.opt_state, gradient)
        derivatives = jax.value_and_grad(self.loss, argnums=(0, 1))
        return w, derivatives(w, self.arch, self.valid)

    def check_arch(self, found, name, tolerance):
        for key, gradient in arch_names(found).items():
            expected = self.file[f"g{key}.{name}"]
            check(self.file, gradient, expected, tolerance, f"{key}.{name}")

    def __hash__(self):
        return id(self.file)


@functools.cache
def read(path):
    file = load(path)
    meta = file.meta
    settings = WeightOptimizer(
        lr=meta["eta"],
        lr_min=meta["eta"],
        momentum=meta["momentum"],
        weight_decay=meta["weight_decay"],
    )
    optimizer = weight_transformation(
        settings, cosine_by_epoch(settings, 1, 1), clip=False
    )

    def step(w, opt_state, gradient):
        updates, opt_state = optimizer.update(gradient, opt_state, w)
        return optax.apply_updates(w, updates), opt_state

    w, momentum = weights(file), weights(file, "buf")
    is_trace = lambda s: isinstance(s, optax.TraceState)  # noqa: E731
    opt_state = jax.tree.map(
        lambda s: s._replace(trace=momentum) if is_trace(s) else s,
        optimizer.init(w),
        is_leaf=is_trace,
    )
    loss = file_problem(file).loss
    train, valid = batch(file, "_train"), batch(file, "_val")
    return Case(file, loss, step, w, opt_state, arch(file), train, valid)


@cases(*FILES)
def test_first_order(path):
    case = read(path)
    value, gradient = case.take(first_order)
    check(case.file, value, case.file["val_loss_w"], EXACT, "val_loss_w")
    case.check_arch(gradient, "first", EXACT)
    train_loss, _ = jax.value_and_grad(case.loss)(case.w, case.arch, case.train)
    check(case.file, train_loss, case.file["train_loss_w"], EXACT, "train_loss_w")


@cases(*FILES)
def test_virtual_step(path):
    case = read(path)
    w, (value, (v, direct)) = case.virtual()
    file = case.file
    if "w_unrolled" in file:
        check_packed(file, w, "w_unrolled", EXACT)
    check(file, value, file["val_loss_unrolled"], EXACT, "val_loss_unrolled")
    check(file, tree.norm(v), file["val_grad_norm_unrolled"], EXACT, "norm")
    case.check_arch(direct, "direct", EXACT)


def check_exact(case, hypergradient):
    value, gradient = case.take(hypergradient)
    file, eta = case.file, case.file.meta["eta"]
    check(file, value, file["val_loss_unrolled"], EXACT, "val_loss_unrolled")
    case.check_arch(gradient, "exact", EXACT)
    _, (_, (_, direct)) = case.virtual()
    hvp = jax.tree.map(lambda d, g: (d - g) / eta, direct, gradient)
    case.check_arch(hvp, "hvp_exact", EXACT)


@cases(*FILES)
def test_unrolled_forward(path):
    check_exact(read(path), unrolled_forward(1))


@cases(*FILES)
def test_unrolled_reverse(path):
    check_exact(read(path), unrolled_reverse(1))


@cases(*FILES)
def test_finite_difference(path):
    case = read(path)
    file, eta = case.file, case.file.meta["eta"]
    value, gradient = case.take(finite_difference(file.meta["r"]))
    check(file, value, file["val_loss_unrolled"], EXACT, "val_loss_unrolled")
    case.check_arch(gradient, "fd", QUOTIENT)
    _, (_, (_, direct)) = case.virtual()
    hvp = jax.tree.map(lambda d, g: (d - g) / eta, direct, gradient)
    case.check_arch(hvp, "hvp_fd", QUOTIENT)


@cases(*FILES)
def test_finite_difference_at_other_radii(path):
    """The error against the exact gradient, as a function of the radius."""
    file = load(path)
    exact = {name: file[f"g{name}.exact"] for name in arch_names(arch(file))}
    for radius, (_, expected) in zip(
        file["fd_sweep_r"], file["fd_sweep_relerr"], strict=True
    ):
        _, gradient = read(path).take(finite_difference(float(radius)))
        found = arch_names(gradient)
        off = {name: found[name] - exact[name] for name in exact}
        found = float(tree.norm(off) / tree.norm(exact))
        # The quotient's own rounding error, about 1e-15 / radius, moves small ones.
        allowed = QUOTIENT * expected + 1e-14 / radius
        assert abs(found - expected) <= allowed, (radius, found, expected)
        if expected > 1e-3:
            assert relative_error(found, expected) < 1e-6
