"""What searches: one file a method, one row in METHODS."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jdarts.errors import UserError, unknown_choice
from jdarts.methods import darts
from jdarts.methods.base import SearchBatches, SearchMethod, SearchState

__all__ = [
    "METHODS",
    "MethodRow",
    "SearchBatches",
    "SearchMethod",
    "SearchState",
    "build_method",
    "get_method",
    "name_of",
]


class MethodRow(NamedTuple):
    """A search method.

    Attributes:
      config: its frozen dataclass of settings; the defaults are the published ones.
      build: ``build(config, space, network, epochs=, steps_per_epoch=)``.
      relaxation: for the table of methods: how alpha becomes mixing weights.
      mixer: which ops of an edge are computed.
      reference: the paper.
    """

    config: type
    build: Callable[..., SearchMethod]
    relaxation: str
    mixer: str
    reference: str


METHODS: dict[str, MethodRow] = {
    "darts": MethodRow(
        config=darts.DartsConfig,
        build=darts.build,
        relaxation="softmax",
        mixer="all ops",
        reference="Liu, Simonyan, Yang, ICLR 2019",
    ),
}


def get_method(name: str) -> MethodRow:
    """The row of that name.

    Raises:
      UserError: if there is none; it names the nearest one.
    """
    if name not in METHODS:
        raise unknown_choice("method", name, METHODS)
    return METHODS[name]


def name_of(config: Any) -> str:
    """The row whose configuration this is.

    Raises:
      UserError: if it is none's.
    """
    for name, row in METHODS.items():
        if row.config is type(config):
            return name
    kinds = ", ".join(row.config.__name__ for row in METHODS.values())
    raise UserError(f"method: found {type(config).__name__}; expected one of {kinds}")


def build_method(config: Any, *args: Any, **kwargs: Any) -> SearchMethod:
    """Builds the method whose configuration this is; see `MethodRow.build`."""
    return METHODS[name_of(config)].build(config, *args, **kwargs)
