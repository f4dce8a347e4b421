"""The curvature of a loss by exact products with its Hessian: Lanczos' method.

And when a search stops because of it.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from jdarts.errors import UserError
from jdarts.types import PyTree

__all__ = ["CurvatureConfig", "Stop", "dominant_eigenvalue", "early_stop"]


def dominant_eigenvalue(
    loss: Callable[[PyTree], jax.Array],
    point: PyTree,
    key: jax.Array,
    *,
    iterations: int = 20,
) -> jax.Array:
    """The largest eigenvalue of the Hessian of a loss.

    Of the validation loss in alpha it tells how sharp the minimum is that a search
    went to: cells found where it has grown do badly (Zela et al., 'RobustDARTS', ICLR
    2020, section 4). Lanczos' method: the Hessian, restricted to the span of v, Hv,
    H^2 v, ..., is tridiagonal, and its largest eigenvalue approaches the Hessian's from
    below; with as many iterations as there are variables it is reached.

    Args:
      loss: a scalar function of a tree, twice differentiable.
      point: where; at least one variable.
      key: of the first direction v.
      iterations: products with the Hessian, >= 1.

    Raises:
      UserError: for fewer than one iteration.
    """
    if iterations < 1:
        raise UserError(f"iterations: {iterations}; expected at least 1")
    flat, unflatten = ravel_pytree(point)
    count = min(iterations, flat.size)
    gradient = jax.grad(lambda x: loss(unflatten(x)))
    _, hessian = jax.linearize(gradient, flat)
    start = jax.random.normal(key, flat.shape, flat.dtype)
    basis = jnp.zeros((count, flat.size), flat.dtype)
    tiny = jnp.finfo(flat.dtype).tiny

    def body(i: jax.Array, carry: tuple) -> tuple:
        basis, v, diagonal, beside = carry
        basis = basis.at[i].set(v)
        product = hessian(v)
        diagonal = diagonal.at[i].set(v @ product)
        for _ in range(2):  # once leaves rounding errors of the size of what is left
            product = product - basis.T @ (basis @ product)
        length = jnp.linalg.norm(product)
        # An invariant subspace: what would come next is rounding.
        found = length > 1e3 * jnp.finfo(flat.dtype).eps * jnp.abs(diagonal).max()
        beside = beside.at[i].set(jnp.where(found, length, 0))
        v = jnp.where(found, product / jnp.maximum(length, tiny), 0)
        return basis, v, diagonal, beside

    zeros = jnp.zeros(count, flat.dtype)
    first = (basis, start / jnp.linalg.norm(start), zeros, zeros)
    basis, _, diagonal, beside = lax.fori_loop(0, count, body, first)
    # After an invariant subspace rows are 0: they must not give an eigenvalue 0.
    used = jnp.any(basis != 0, axis=1)
    diagonal = jnp.where(used, diagonal, diagonal[0])
    tridiagonal = (
        jnp.diag(diagonal) + jnp.diag(beside[:-1], 1) + jnp.diag(beside[:-1], -1)
    )
    return jnp.linalg.eigvalsh(tridiagonal)[-1]


@dataclasses.dataclass(frozen=True)
class CurvatureConfig:
    """Measuring how sharp a search's minimum is, and stopping when it gets sharper.

    Zela et al., 'Understanding and Robustifying DARTS', ICLR 2020, section 4.3; the
    defaults are those of the authors' code."""

    every: int = 0
    """Epochs between two measurements of the largest eigenvalue of the Hessian of the
    validation loss in alpha; 0: it is not measured. Published: 2."""
    iterations: int = 20
    """Products with the Hessian in one measurement, >= 1; the eigenvalue is approached
    from below."""
    stop: float | None = None
    """Stop when the mean of the last eigenvalues is more than so many times the mean of
    earlier ones, > 0; the genotype of the earlier epoch is the result. Published: 1.3.
    Not given: never."""
    window: int = 5
    """Measurements that a mean is of, >= 1."""
    back: int = 4
    """By so many measurements the earlier mean is earlier, >= 1."""
    start: int = 10
    """The first epoch whose genotype may be the result, >= 1."""

    def check(self, where: str, epochs: int) -> None:
        """Raises a UserError for a value out of range, or one without effect.

        Args:
          where: the field's name on the command line.
          epochs: of the search.
        """
        least = {"every": 0, "iterations": 1, "window": 1, "back": 1, "start": 1}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise UserError(
                    f"{where}.{name}: {getattr(self, name)}; expected a whole number "
                    f">= {lowest}"
                )
        if self.every > epochs:
            raise UserError(
                f"{where}.every: {self.every} is more than the {epochs} epochs; "
                f"expected at most {epochs}"
            )
        if self.stop is not None and not (self.stop > 0 and math.isfinite(self.stop)):
            raise UserError(f"{where}.stop: {self.stop}; expected more than 0")
        if not self.every:
            names, instead = ("iterations", "stop"), f"{where}.every 1 or more"
            self._refuse(where, names, f"{where}.every 0", instead)
        if self.stop is None:
            names = "window", "back", "start"
            self._refuse(where, names, f"no {where}.stop", f"{where}.stop 1.3, say")
        elif self._first > epochs:
            raise UserError(
                f"{where}.stop: has no effect in {epochs} epochs; with these settings "
                f"expected at least {self._first}"
            )

    def check_warmup(self, where: str, warmup: int) -> None:
        """Raises a UserError if the result may be of an epoch that has not trained
        alpha yet.

        Args:
          where: the field's name on the command line.
          warmup: epochs, at the start, that train the weights alone.
        """
        if self.stop is not None and self.start <= warmup:
            raise UserError(
                f"{where}.start: {self.start}, but the first {warmup} epochs train the "
                "weights alone, so that the genotype would be one of random logits; "
                f"expected at least {warmup + 1}"
            )

    def _refuse(
        self, where: str, names: Sequence[str], without: str, instead: str
    ) -> None:
        for name in names:
            if getattr(self, name) != getattr(CurvatureConfig, name):
                raise UserError(
                    f"{where}.{name}: has no effect with {without}; expected "
                    f"{getattr(CurvatureConfig, name)}, or {instead}"
                )

    @property
    def _first(self) -> int:
        """The first epoch after which a search can stop."""
        centre = -(-self.start // self.every)
        return self.every * max(
            self.window + self.back, centre + self.window // 2 + self.back
        )


class Stop(NamedTuple):
    """Why a search stops.

    Attributes:
      after: the epoch after which it stops.
      epoch: the epoch whose genotype is the result.
      ratio: how many times as large the eigenvalues have become.
    """

    after: int
    epoch: int
    ratio: float


def early_stop(config: CurvatureConfig, values: Sequence[float]) -> Stop | None:
    """Whether a search stops after its newest measurement.

        mean(lambda, the last `window`) / mean(lambda, those `back` earlier) > stop

    Each mean counts for the epoch in the middle of its window; the earlier one's is the
    result, if it is at least `start`. Nothing is compared where the earlier mean is not
    positive, or a value is not finite (a measurement that overflowed).

    Args:
      config: the settings.
      values: the eigenvalues of all measurements, after epochs `every`, ``2 every``...
    """
    count, window = len(values), config.window
    if config.stop is None or count < window + config.back:
        return None
    epoch = config.every * (count - window // 2 - config.back)
    last = values[count - window :]
    earlier = values[count - config.back - window : count - config.back]
    if not all(map(math.isfinite, [*last, *earlier])):
        return None
    now, before = math.fsum(last) / window, math.fsum(earlier) / window
    if epoch < config.start or before <= 0 or now <= config.stop * before:
        return None
    return Stop(after=config.every * count, epoch=epoch, ratio=now / before)
