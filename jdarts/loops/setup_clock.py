"""Where the time of a setup goes."""

import time

from jdarts.ops import native
from jdarts.stopwatch import KERNELS

__all__ = ["SetupClock"]


class SetupClock:
    """The seconds of a setup by part: its data, kernels that it waited for, the rest.

    CPU kernels are built in the background from its beginning on, while the data are
    read.
    """

    def __init__(self, run: str) -> None:
        """The setup begins.

        Args:
          run: a row of `jdarts.ops.native.build.USED`: which kernels will be needed.
        """
        native.prepare(run)
        self._mark, self._waited = time.perf_counter(), KERNELS.seconds
        self._data: dict[str, float] = {}

    def loaded(self) -> None:
        """The data are there."""
        now = time.perf_counter()
        self._data, self._mark = {"data": now - self._mark}, now

    def seconds(self) -> dict[str, float]:
        """So far: ``data``, ``kernels`` if it had to wait for any, and ``init``."""
        waited = KERNELS.since(self._waited)
        kernels = {"kernels": waited} if waited else {}
        return (
            self._data | kernels | {"init": time.perf_counter() - self._mark - waited}
        )
