"""Hypergradients: the derivative of the validation loss in the architecture.

The bilevel problem is

    min over a of  L_valid(w*(a), a)   with   w*(a) = argmin over w of L_train(w, a).

``w*`` is replaced by what K optimiser steps from the current weights reach,

    w_0 = w,    w_{k+1} = w_k + U(grad_w L_train(w_k, a; batch k)),

with U the real optimiser's update: its momentum, decay and schedule included. Here
nothing is known of networks: losses are functions, weights and architectures pytrees.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jdarts import tree
from jdarts.errors import UserError, unknown_choice
from jdarts.lazy import LazyModule
from jdarts.types import PyTree

if TYPE_CHECKING:
    import chex
else:
    chex = LazyModule("chex")

__all__ = [
    "HYPERGRADIENTS",
    "Hypergradient",
    "HypergradientConfig",
    "InnerStep",
    "Loss",
    "finite_difference",
    "first_order",
    "make_hypergradient",
    "neumann",
    "unrolled_forward",
    "unrolled_reverse",
]

Loss = Callable[[PyTree, PyTree, Any], jax.Array]
"""``loss(w, arch, batch) -> scalar``."""

InnerStep = Callable[[PyTree, PyTree, PyTree], tuple[PyTree, PyTree]]
"""``inner_step(w, opt_state, gradient) -> (w, opt_state)``, of the same shapes and
types; else an AssertionError is raised."""


class Hypergradient(Protocol):
    """A rule for the derivative of the outer loss in the architecture."""

    def __call__(
        self,
        inner_loss: Loss,
        outer_loss: Callable[..., Any],
        inner_step: InnerStep,
        w: PyTree,
        opt_state: PyTree,
        arch: PyTree,
        train_batches: PyTree,
        valid_batch: PyTree,
        *,
        has_aux: bool = False,
    ) -> tuple[Any, PyTree]:
        """Differentiates.

        Args:
          inner_loss: the training loss.
          outer_loss: the validation loss, ``(w, arch, batch) -> scalar``.
          inner_step: the optimiser's step on the weights.
          w: the current weights.
          opt_state: the optimiser's state; a constant of the differentiation.
          arch: the architecture parameters.
          train_batches: the batches of the virtual steps, on a leading axis.
          valid_batch: the validation batch.
          has_aux: whether the outer loss is ``(loss, aux)``, as for `jax.grad`.

        Returns:
          The outer loss where it was differentiated (at the virtual weights, if the
          rule makes any), with its aux, and its gradient in `arch`.
        """
        ...


def first_order(
    inner_loss: Loss,
    outer_loss: Callable[..., Any],
    inner_step: InnerStep,
    w: PyTree,
    opt_state: PyTree,
    arch: PyTree,
    train_batches: PyTree,
    valid_batch: PyTree,
    *,
    has_aux: bool = False,
) -> tuple[Any, PyTree]:
    """``grad_a L_valid(w, a)``: the weights are taken for optimal (xi = 0).

    Liu et al., 'DARTS', ICLR 2019, section 2.3. See `Hypergradient` for the arguments.
    """
    return jax.value_and_grad(outer_loss, 1, has_aux=has_aux)(w, arch, valid_batch)


def unrolled_reverse(steps: int) -> Hypergradient:
    """``grad_a L_valid(w_K(a), a)``, exact, in reverse mode over reverse mode.

    Each inner step is compiled once however many there are.

    Args:
      steps: K, the number of virtual steps, >= 1.
    """

    def hypergradient(
        inner_loss: Loss,
        outer_loss: Callable[..., Any],
        inner_step: InnerStep,
        w: PyTree,
        opt_state: PyTree,
        arch: PyTree,
        train_batches: PyTree,
        valid_batch: PyTree,
        *,
        has_aux: bool = False,
    ) -> tuple[Any, PyTree]:
        @jax.jit  # traced once for all K
        def virtual_step(
            w: PyTree, opt_state: PyTree, arch: PyTree, batch: PyTree
        ) -> tuple[PyTree, PyTree]:
            gradient = jax.grad(inner_loss)(w, arch, batch)
            return _stepped(inner_step, w, opt_state, gradient)

        def outer(arch: PyTree) -> Any:
            virtual, state = w, opt_state
            for k in range(steps):
                batch = _batch(train_batches, k)
                virtual, state = virtual_step(virtual, state, arch, batch)
            return outer_loss(virtual, arch, valid_batch)

        return jax.value_and_grad(outer, has_aux=has_aux)(arch)

    return hypergradient


class _Virtual(NamedTuple):
    """One virtual step and what its adjoint needs."""

    hessian: Callable[[PyTree], tuple[PyTree, PyTree]]
    pull_back: Callable[[tuple[PyTree, PyTree]], tuple[PyTree, PyTree, PyTree]]


def unrolled_forward(steps: int) -> Hypergradient:
    """``grad_a L_valid(w_K(a), a)``, exact, in forward mode over reverse mode.

    The adjoint of the virtual steps, written out. With ``(u, s) = (dL/dw_K, 0)`` the
    cotangents of weights and optimiser state after step k, the optimiser pulls them
    back to ``(u', s', v)``, v the cotangent of the step's gradient, and then

        u <- u' + H_ww v,    s <- s',    grad_a <- grad_a + H_aw v.

    Both products with the second derivatives of L_train are one directional derivative
    of its gradient. The numbers are those of `unrolled_reverse`.

    Args:
      steps: K, the number of virtual steps, >= 1.
    """

    def hypergradient(
        inner_loss: Loss,
        outer_loss: Callable[..., Any],
        inner_step: InnerStep,
        w: PyTree,
        opt_state: PyTree,
        arch: PyTree,
        train_batches: PyTree,
        valid_batch: PyTree,
        *,
        has_aux: bool = False,
    ) -> tuple[Any, PyTree]:
        gradients = jax.grad(inner_loss, argnums=(0, 1))
        take_step = functools.partial(_stepped, inner_step)
        virtual, state, done = w, opt_state, []
        for k in range(steps):
            batch = _batch(train_batches, k)
            # The primal gradient and its linear map share one forward pass.
            (gradient, _), hessian = jax.linearize(
                lambda w, batch=batch: gradients(w, arch, batch), virtual
            )
            (virtual, state), pull_back = jax.vjp(take_step, virtual, state, gradient)
            done.append(_Virtual(hessian, pull_back))
        value, (u, total) = jax.value_and_grad(
            outer_loss, argnums=(0, 1), has_aux=has_aux
        )(virtual, arch, valid_batch)
        s = jax.tree.map(_zero_cotangent, state)
        for step in reversed(done):
            u, s, v = step.pull_back((u, s))
            along_w, along_arch = step.hessian(v)
            u = jax.tree.map(jnp.add, u, along_w)
            total = jax.tree.map(jnp.add, total, along_arch)
        return value, total

    return hypergradient


def finite_difference(radius: float) -> Hypergradient:
    """The 2018 code's approximation of one virtual step's hypergradient.

    With ``v = grad_w L_valid(w')`` pulled back through the optimiser to ``v'`` and
    ``R = radius / |v'|``, the mixed second derivative becomes a quotient:

        grad_a L_valid(w', a)
            + [grad_a L_train(w + R v') - grad_a L_train(w - R v')] / 2R.

    For SGD ``v' = -xi v``, so that this is the quotient along v of the paper's
    equation (8), times -xi. For networks with kinks (ReLU, max-pooling) it is *not*
    close to the exact derivative at the published radius.

    Args:
      radius: length of the step in the weights, > 0; the published one is 0.01.
    """

    def hypergradient(
        inner_loss: Loss,
        outer_loss: Callable[..., Any],
        inner_step: InnerStep,
        w: PyTree,
        opt_state: PyTree,
        arch: PyTree,
        train_batches: PyTree,
        valid_batch: PyTree,
        *,
        has_aux: bool = False,
    ) -> tuple[Any, PyTree]:
        batch = _batch(train_batches, 0)
        gradient = jax.grad(inner_loss)(w, arch, batch)
        virtual, pull_back = jax.vjp(
            lambda gradient: _stepped(inner_step, w, opt_state, gradient)[0], gradient
        )
        value, (v, direct) = jax.value_and_grad(
            outer_loss, argnums=(0, 1), has_aux=has_aux
        )(virtual, arch, valid_batch)
        (v,) = pull_back(v)
        scale = radius / jnp.maximum(tree.norm(v), jnp.finfo(jnp.float32).tiny)
        slope = jax.grad(inner_loss, argnums=1)
        ahead = slope(tree.add_scaled(w, scale, v), arch, batch)
        behind = slope(tree.add_scaled(w, -scale, v), arch, batch)
        return value, jax.tree.map(
            lambda d, p, m: d + (p - m) / (2 * scale), direct, ahead, behind
        )

    return hypergradient


def neumann(terms: int, scale: float) -> Hypergradient:
    """The implicit derivative at the current weights, with a truncated inverse.

    At a minimum of the training loss ``dw/da = - H_ww^-1 H_wa``. With the series of
    Neumann, ``H_ww^-1 = scale sum_j (I - scale H_ww)^j``, cut off after `terms` terms,

        grad_a L_valid - H_aw s,    s = scale sum_{j < terms} (I - scale H_ww)^j v,

    v = grad_w L_valid. Lorraine, Vicol, Duvenaud, 'Optimizing Millions of
    Hyperparameters by Implicit Differentiation', AISTATS 2020, algorithms 2 and 3. The
    series converges where ``0 < scale < 2 / (largest eigenvalue of H_ww)``. The
    optimiser has no part in it.

    Args:
      terms: number of terms, >= 1; each after the first is one more product with H_ww.
      scale: > 0.
    """

    def hypergradient(
        inner_loss: Loss,
        outer_loss: Callable[..., Any],
        inner_step: InnerStep,
        w: PyTree,
        opt_state: PyTree,
        arch: PyTree,
        train_batches: PyTree,
        valid_batch: PyTree,
        *,
        has_aux: bool = False,
    ) -> tuple[Any, PyTree]:
        batch = _batch(train_batches, 0)
        value, (v, direct) = jax.value_and_grad(
            outer_loss, argnums=(0, 1), has_aux=has_aux
        )(w, arch, valid_batch)
        gradients = jax.grad(inner_loss, argnums=(0, 1))
        _, hessian = jax.linearize(lambda w: gradients(w, arch, batch), w)

        def add_term(_: jax.Array, series: tuple[PyTree, PyTree]) -> tuple:
            term, total = series
            term = tree.add_scaled(term, -scale, hessian(term)[0])
            return term, tree.add_scaled(total, 1.0, term)

        _, total = jax.lax.fori_loop(1, terms, add_term, (v, v))
        _, along_arch = hessian(total)
        return value, tree.add_scaled(direct, -scale, along_arch)

    return hypergradient


def _stepped(
    inner_step: InnerStep, w: PyTree, opt_state: PyTree, gradient: PyTree
) -> tuple[PyTree, PyTree]:
    """An inner step. One that broadcasts weights or promotes their type would be
    differentiated as well, and be the step of another optimiser."""
    stepped = inner_step(w, opt_state, gradient)
    chex.assert_trees_all_equal_shapes_and_dtypes(stepped, (w, opt_state))
    return stepped


def _batch(batches: PyTree, k: int) -> PyTree:
    return jax.tree.map(lambda x: x[k], batches)


def _zero_cotangent(x: jax.Array) -> Any:
    if jnp.issubdtype(jnp.result_type(x), jnp.inexact):
        return jnp.zeros_like(x)
    return jax.numpy.zeros(jnp.shape(x), jax.dtypes.float0)


@dataclasses.dataclass(frozen=True)
class HypergradientConfig:
    """Which hypergradient, and its options; one that has no effect is refused."""

    name: str = "unrolled"
    """first_order, unrolled (exact), finite_difference (the 2018 code's quotient) or
    neumann (implicit, by a truncated series)."""
    steps: int | None = None
    """unrolled: number K of virtual weight steps, >= 1 (default 1)."""
    mode: str | None = None
    """unrolled: reverse or forward (over reverse): same numbers, other costs (default
    forward)."""
    radius: float | None = None
    """finite_difference: length of the step in the weights, > 0 (default 0.01)."""
    terms: int | None = None
    """neumann: terms of the series, >= 1 (default 3)."""
    scale: float | None = None
    """neumann: the series' scale, > 0, below 2 / (the training loss's largest
    curvature) (default 0.01)."""

    @property
    def virtual_steps(self) -> int:
        """Training batches needed per search step."""
        return 1 if self.steps is None else self.steps

    @property
    def takes_virtual_steps(self) -> bool:
        """Whether the optimiser of the weights has a part in it."""
        row = HYPERGRADIENTS.get(self.name)
        return row is not None and row.virtual


def _make_unrolled(steps: int = 1, mode: str = "forward") -> Hypergradient:
    modes = {"forward": unrolled_forward, "reverse": unrolled_reverse}
    if mode not in modes:
        raise unknown_choice("--method.hypergradient.mode", mode, modes)
    if steps < 1:
        raise UserError(f"--method.hypergradient.steps: {steps}; expected at least 1")
    return modes[mode](steps)


def _make_finite_difference(radius: float = 0.01) -> Hypergradient:
    if not 0 < radius < math.inf:
        raise UserError(
            f"--method.hypergradient.radius: {radius}; expected more than 0"
        )
    return finite_difference(radius)


def _make_neumann(terms: int = 3, scale: float = 0.01) -> Hypergradient:
    if terms < 1:
        raise UserError(f"--method.hypergradient.terms: {terms}; expected at least 1")
    if not 0 < scale < math.inf:
        raise UserError(f"--method.hypergradient.scale: {scale}; expected more than 0")
    return neumann(terms, scale)


class _Row(NamedTuple):
    make: Callable[..., Hypergradient]
    options: tuple[str, ...]
    virtual: bool  # whether it takes virtual weight steps


HYPERGRADIENTS: dict[str, _Row] = {
    "first_order": _Row(lambda: first_order, (), False),
    "unrolled": _Row(_make_unrolled, ("steps", "mode"), True),
    "finite_difference": _Row(_make_finite_difference, ("radius",), True),
    "neumann": _Row(_make_neumann, ("terms", "scale"), False),
}


def make_hypergradient(config: HypergradientConfig) -> Hypergradient:
    """The hypergradient that a configuration asks for.

    Raises:
      UserError: for an unknown name, a value out of range, or an option that the named
        hypergradient does not have.
    """
    if config.name not in HYPERGRADIENTS:
        raise unknown_choice("--method.hypergradient.name", config.name, HYPERGRADIENTS)
    row = HYPERGRADIENTS[config.name]
    given = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name != "name" and getattr(config, field.name) is not None
    }
    for option in given:
        if option not in row.options:
            raise UserError(
                f"--method.hypergradient.{option}: has no effect with '{config.name}'; "
                f"expected {' or '.join(row.options) or 'no option'}"
            )
    return row.make(**given)
