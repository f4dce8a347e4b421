"""How long a compiled call takes, and on what."""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

__all__ = ["KERNELS", "Waited", "device_text", "devices_text", "median_seconds"]


class Waited:
    """Adds up the time that passes inside, over any number of times; use it in a
    ``with``, not inside of itself.

    Attributes:
      seconds: so far.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Nothing has passed yet.

        Args:
          clock: seconds; for tests.
        """
        self.seconds, self._clock, self._begin = 0.0, clock, 0.0

    def __enter__(self) -> "Waited":
        self._begin = self._clock()
        return self

    def __exit__(self, *exception: object) -> None:
        self.seconds += self._clock() - self._begin

    def since(self, before: float) -> float:
        """Seconds since `seconds` was `before`."""
        return self.seconds - before


KERNELS = Waited()
"""What this process has waited for CPU kernels that were being built."""


def median_seconds(
    call: Callable[..., Any],
    *args: Any,
    warm_up: int = 2,
    least: int = 5,
    budget: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """The median time of a call, until its results are there.

    Args:
      call: compiled already; its results are waited for.
      *args: on the device already.
      warm_up: calls that are not timed.
      least: calls that are timed at least.
      budget: seconds; more calls are timed until so many have passed.
      clock: seconds; for tests.
    """
    for _ in range(warm_up):
        jax.block_until_ready(call(*args))
    times: list[float] = []
    while len(times) < least or sum(times) < budget:
        start = clock()
        jax.block_until_ready(call(*args))
        times.append(clock() - start)
    return statistics.median(times)


def device_text() -> str:
    """The first device in words; on CPU the processor and its usable cores."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return f"{device.platform} ({device.device_kind})"
    return f"cpu ({_processor()}, {len(os.sched_getaffinity(0))} cores)"


def devices_text() -> str:
    """All devices in words, of which the bits of a sum depend."""
    count = jax.device_count()
    return device_text() if count == 1 else f"{count} x {device_text()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    return next(names, "unknown processor")
