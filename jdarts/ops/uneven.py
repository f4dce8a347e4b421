"""Separable ops of a source whose edges each have their own ops."""

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jdarts.ops.conv import Separable
from jdarts.ops.init import uniform_fan_in
from jdarts.ops.norm import BatchNorm, MixedNorm
from jdarts.ops.stage import separable_stage

__all__ = ["UnevenSeparableOps"]


class UnevenSeparableOps(nn.Module):
    """Separable ops of equally many stages, each on some of the edges.

    A stage of all of them is one kernel, as in `SeparableOps`, but each op on each edge
    is a row in it with its own weights, and each edge has its own normaliser:
    nothing is computed for an edge that does not have an op.

    Attributes:
      edges: for each edge that leaves the source the names of its ops, perhaps none.
      ops: names and definitions, all with the same number of stages.
      stride: of the edges, 1 or 2.
    """

    edges: tuple[tuple[str, ...], ...]
    ops: tuple[tuple[str, Separable], ...]
    stride: int = 1

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channel"],
        share: Float[Array, "edge op"],
        *,
        train: bool,
    ) -> Float[Array, "edge batch out_height out_width channel"]:
        """The weighted sum over each edge's ops, in float32 at least.

        Args:
          x: the source.
          share: mixing weights; those of ops that an edge does not have are not read.
          train: whether normalisers use the batch's statistics.
        """
        names = [name for name, _ in self.ops]
        # Edge by edge, so that the rows of an edge are together.
        rows = [
            (edge, name)
            for edge, own in enumerate(self.edges)
            for name in names
            if name in own
        ]
        value, last = x[None], len(self.ops[0][1].kernels) - 1
        for stage in range(last):
            value = self._stage(stage, value, rows)
            value = BatchNorm(name=f"bn_{stage}")(value, train=train)
        value = self._stage(last, value, rows)
        counts = [sum(e == edge for e, _ in rows) for edge in range(len(self.edges))]
        parts = iter(lax.split(value, [n for n in counts if n]))
        sums = []
        for edge, own in enumerate(self.edges):
            if not counts[edge]:
                sums.append(None)
                continue
            norm = MixedNorm(1, name=f"bn_{last}_edge_{edge}")
            columns = [i for i, name in enumerate(names) if name in own]
            shares = jnp.stack([share[edge, column] for column in columns])
            sums.append(norm(next(parts), shares, train=train))
        some = next(total for total in sums if total is not None)
        zero = jnp.zeros_like(some)
        return jnp.concatenate([zero if s is None else s for s in sums])

    def _stage(self, stage: int, x: Array, rows: list[tuple[int, str]]) -> Array:
        """One stage without its normaliser; x is ``[1 or row, batch, ...]``."""
        channels, ops = x.shape[-1], dict(self.ops)
        windows = {n: op.windows(self.stride)[stage] for n, op in self.ops}
        depthwise = {}
        for name in ops:
            own = [edge for edge, other in rows if other == name]
            kernel = windows[name].kernel
            shape = (len(own), kernel, kernel, channels)
            init = uniform_fan_in(kernel**2)
            stacked = self.param(f"{name}_depthwise_{stage}", init, shape, x.dtype)
            parts = lax.split(stacked, [1] * len(own))
            depthwise |= {(e, name): w for e, w in zip(own, parts, strict=True)}
        shape = (len(rows), channels, channels)
        w = self.param(f"pointwise_{stage}", uniform_fan_in(channels), shape, x.dtype)
        return separable_stage(
            x, w, [depthwise[row] for row in rows], tuple(windows[n] for _, n in rows)
        )
