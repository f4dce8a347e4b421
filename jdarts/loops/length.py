"""How long a run may be."""

from typing import Protocol

from jdarts.errors import UserError

__all__ = ["check_steps"]


class _Lasts(Protocol):
    @property
    def epochs(self) -> int: ...

    @property
    def steps(self) -> int | None: ...


def check_steps(config: _Lasts, per_epoch: int) -> None:
    """Raises a UserError for more steps than the epochs have.

    Args:
      config: of a search or a training.
      per_epoch: steps in one epoch, >= 1.
    """
    total = config.epochs * per_epoch
    if config.steps is not None and config.steps > total:
        raise UserError(
            f"--steps: {config.steps} is more than the {total} steps of "
            f"{config.epochs} epochs; expected at most {total}"
        )
