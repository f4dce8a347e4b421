"""What searches and trainings do with their compiled programs."""

from typing import Any

import jax
import numpy as np

from jdarts.compile import Compiled
from jdarts.loops.chunk import MAX_STEPS
from jdarts.phase import phased
from jdarts.types import PyTree

__all__ = ["abstract", "compiled_text", "evaluate"]


@phased("evaluating")
def evaluate(program: Compiled, state: PyTree, start: Any) -> list[Any]:
    """Each seed's sums over the data to evaluate on, a few batches at a time.

    Args:
      program: the compiled evaluation.
      state: of all seeds.
      start: `data`, `evaluations` and `seeds` are read.
    """
    number, sums = start.seeds.number, None
    for first in range(0, start.evaluations, MAX_STEPS):
        count = min(MAX_STEPS, start.evaluations - first)
        part = program.call(state, start.data, number(first), number(count))
        part = jax.device_get(part)
        sums = part if sums is None else jax.tree.map(np.add, sums, part)
    assert sums is not None  # there are data
    return start.seeds.each(sums)


def compiled_text(name: str, program: Compiled) -> str:
    """What compiling a program cost, in words."""
    waited = program.kernel_seconds
    return (
        f"compiled {name}: trace {program.trace_seconds:.1f} s, compile "
        f"{program.compile_seconds:.1f} s"
        + (f", kernels {waited:.1f} s" if waited > 0.05 else "")
    )


def abstract(state: PyTree) -> PyTree:
    """What a checkpoint of such a state is restored into."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )
