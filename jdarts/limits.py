"""How large a number may be: what no machine could do is refused before it begins.

Each limit is far above every published setting. Values that are only out of a field's
own range are refused by the part that they belong to.
"""

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jdarts.errors import UserError

__all__ = [
    "MOST",
    "check_numbers",
    "check_run_memory",
    "image_bytes",
    "machine_memory",
    "text_bytes",
]

_INTEGER = 2**31 - 1
_GIB = 2**30

_COMPILE = "each is compiled into the program"
_WIDTH = "weights grow with its square"
_LENGTH = "a run of more would have no end"
_STEP = "all are steps of one program"

MOST: dict[str, tuple[int, str]] = {
    "layers": (1000, _COMPILE),
    "added_layers": (1000, _COMPILE),
    "channels": (2**16, _WIDTH),
    "units": (2**16, _WIDTH),
    "epochs": (10**6, _LENGTH),
    "epochs_between": (10**6, _LENGTH),
    "patience": (10**6, _LENGTH),
    "length": (10**5, _STEP),
    "hypergradient.steps": (100, _STEP),
    "hypergradient.terms": (1000, _STEP),
    "curvature.iterations": (1000, "so many directions are kept"),
    "curvature.window": (10**6, _LENGTH),
    "curvature.back": (10**6, _LENGTH),
    "method.cells": (10**6, _LENGTH),
    "method.history": (1000, "so many epochs are kept"),
    "data.crop_padding": (10**4, "images are filled up by as much"),
    "data.cutout": (10**4, "images have fewer pixels"),
    "classes": (10**6, "so many logits are computed"),
    "image": (2**16, "no image has so many pixels"),
    "retrainings": (1000, _LENGTH),
    "random": (10**5, _LENGTH),
    "seeds": (_INTEGER * 2 + 1, "it has 32 bits"),
    "seed": (_INTEGER * 2 + 1, "it has 32 bits"),
}
"""The end of a field's dotted name to its largest value, and the reason."""

_SEEDS = 1000
_CGROUP = (  # a container's limit, in versions 2 and 1
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def check_numbers(config: Any, prefix: str = "--") -> None:
    """Checks all numbers of a configuration, and of its parts.

    Args:
      config: a dataclass.
      prefix: of its fields on the command line.

    Raises:
      UserError: for a number that is not finite, a whole one of more than 32 bits, or
        one above its limit in `MOST`; for more than 1000 seeds.
    """
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            check_numbers(value, f"{name}.")
        elif field.name == "seeds" and value is not None and len(value) > _SEEDS:
            raise UserError(
                f"--seeds: {len(value)} seeds; expected at most {_SEEDS}, because all "
                "are computed at once"
            )
        else:
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, (int, float)):
                    _check(name, number)


def _check(name: str, number: float) -> None:
    flag = name.replace("_", "-")
    if not math.isfinite(number):
        raise UserError(f"{flag}: {number}; expected a finite number")
    path = name.removeprefix("--")
    most, why = next(
        (MOST[end] for end in _ends(path) if end in MOST), (_INTEGER, "it has 32 bits")
    )
    if isinstance(number, int) and number > most:
        raise UserError(f"{flag}: {number}; expected at most {most}: {why}")


def _ends(path: str) -> list[str]:
    """``a.b.c`` -> ``a.b.c``, ``b.c``, ``c``."""
    parts = path.split(".")
    return [".".join(parts[i:]) for i in range(len(parts))]


def machine_memory() -> int:
    """Bytes of memory that this machine has, or that a container may use of it."""
    has = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([has, *filter(None, map(_limit, _CGROUP))])


def _limit(file: Path) -> int | None:
    """Bytes in a file; None: there is no such file, or no limit."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # it says "max"
        return None


def check_run_memory(least: float, what: str) -> None:
    """Raises a UserError if a run on CPU needs more memory than there is on any machine
    like this one, before anything is built. Accelerators have their own memory.

    Args:
      least: bytes that it needs at least: an estimate from below.
      what: the options that need less where they are smaller.
    """
    if jax.default_backend() != "cpu":
        return
    has = machine_memory()
    if least > has:
        raise UserError(
            f"{what}: at least {least / _GIB:,.0f} GiB of memory are needed, and this "
            f"machine has {has / _GIB:,.0f} GiB; expected less of them"
        )


def image_bytes(
    config: Any,
    image: tuple[int, int, int],
    stride: int,
    edges: int,
    dtype: DTypeLike | None,
    k: int = 1,
) -> float:
    """What a network of cells needs at least, in bytes: one convolution an edge, with
    its gradient, and the first values of a batch.

    Args:
      config: `channels`, `layers`, `batch_size` and `all_seeds` are read.
      image: ``(height, width, channels)``.
      stride: of what comes before the first cell.
      edges: of a cell.
      dtype: of the values; None: float32 at least.
      k: one in so many channels goes through the convolutions.
    """
    height, width, _ = image
    through = config.channels // max(k, 1)  # the network says what else is wrong
    weights = 2.0 * config.layers * edges * through**2
    values = float(config.batch_size) * height * width * config.channels / stride**2
    wide = jnp.dtype(dtype or jnp.float32).itemsize
    return len(config.all_seeds) * (4.0 * weights + wide * values)


def text_bytes(config: Any, vocabulary: int) -> float:
    """The same of a recurrent network.

    Args:
      config: `units`, `length`, `batch_size` and `all_seeds` are read.
      vocabulary: number of tokens.
    """
    weights = 2.0 * config.units * (config.units + vocabulary)
    values = float(config.batch_size) * config.length * (config.units + vocabulary)
    return 4.0 * len(config.all_seeds) * (weights + values)
