"""Relaxations that draw mixing weights in every step."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Float

from jdarts.relaxation.base import Relaxation, normal_alpha, straight_through
from jdarts.relaxation.softmax import softmax
from jdarts.spaces import SearchSpace
from jdarts.types import AnyArray, Arch, Now

__all__ = ["Temperature", "concrete", "dirichlet", "gumbel"]

Temperature = Callable[[jax.Array], Any]
"""From the number of steps done to a temperature, > 0."""


def gumbel(temperature: Temperature, init_scale: float = 1e-3) -> Relaxation:
    """One op an edge, drawn with probability softmax(alpha); straight through.

        p = softmax((log softmax(alpha) + G) / tau),  G Gumbel noise
        weights = one_hot(argmax p),  derivative: that of p

    Dong, Yang, 'GDAS', CVPR 2019, equations (4) to (6). Without a step the most
    probable op; the mean is softmax(alpha).

    Args:
      temperature: tau.
      init_scale: standard deviation of alpha at the start.
    """
    soft = softmax(init_scale)

    def weights(arch: Arch, now: Now | None = None) -> dict[str, jax.Array]:
        if now is None:
            return {kind: _largest(alpha) for kind, alpha in arch.alpha.items()}
        mix = _concrete(arch, now, temperature)
        return {kind: straight_through(p, _largest(p)) for kind, p in mix.items()}

    return Relaxation(soft.init, weights, soft.project, mean=soft.weights)


def concrete(
    temperature: Temperature, init_mean: float = 1.0, init_scale: float = 1e-2
) -> Relaxation:
    """The concrete distribution: ``softmax((alpha + G) / t)`` with Gumbel noise G.

    Xie, Zheng, Liu, Lin, 'SNAS', ICLR 2019, equation (6); alpha is its log alpha. One
    draw a step for all cells. Without a step softmax(alpha).

    Args:
      temperature: t.
      init_mean: mean of alpha at the start.
      init_scale: its standard deviation.
    """
    soft = softmax()

    def init(key: jax.Array, space: SearchSpace) -> Arch:
        alpha = normal_alpha(key, space, init_scale)
        return Arch(jax.tree.map(lambda a: init_mean + a, alpha), {})

    def weights(arch: Arch, now: Now | None = None) -> dict[str, jax.Array]:
        if now is None:
            return soft.weights(arch)
        return _concrete(arch, now, temperature)

    return Relaxation(init, weights, soft.project)


def dirichlet(init_scale: float = 1e-3) -> Relaxation:
    """``weights ~ Dirichlet(elu(alpha) + 1)`` for each edge, by pathwise derivatives.

    Chen et al., 'DrNAS', ICLR 2021, section 2.2 and its code. Without a step the mean.
    The derivative is JAX's, through gamma variables; PyTorch's, through beta variables,
    has the same mean and a deviation up to 1.15 times smaller.

    Args:
      init_scale: standard deviation of alpha at the start.
    """

    def init(key: jax.Array, space: SearchSpace) -> Arch:
        return Arch(normal_alpha(key, space, init_scale), {})

    def weights(arch: Arch, now: Now | None = None) -> dict[str, jax.Array]:
        mix = {}
        for i, (kind, alpha) in enumerate(sorted(arch.alpha.items())):
            concentration = jax.nn.elu(alpha) + 1
            if now is None:
                mix[kind] = concentration / concentration.sum(axis=1, keepdims=True)
            else:
                key = jax.random.fold_in(now.key, i)
                # 1e-6: elu + 1 can underflow, and 0 is no concentration.
                mix[kind] = jax.random.dirichlet(key, concentration + 1e-6)
        return mix

    return Relaxation(init, weights, project=lambda arch: arch)


def _concrete(arch: Arch, now: Now, temperature: Temperature) -> dict[str, jax.Array]:
    mix, tau = {}, temperature(now.step)
    for i, (kind, alpha) in enumerate(sorted(arch.alpha.items())):
        key = jax.random.fold_in(now.key, i)
        noise = jax.random.gumbel(key, alpha.shape, alpha.dtype)
        # A softmax does not see the row's constant that log softmax subtracts.
        mix[kind] = jax.nn.softmax((alpha + noise) / tau, axis=-1)
    return mix


def _largest(
    values: Float[AnyArray, "edge primitive"],
) -> Float[Array, "edge primitive"]:
    """1 for the largest entry of each row."""
    best = jax.lax.stop_gradient(values).argmax(axis=1)
    return jax.nn.one_hot(best, values.shape[1], dtype=values.dtype)
