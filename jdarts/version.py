"""Which version this is; the number stands in the distribution's metadata alone."""

import importlib.metadata

__all__ = ["version"]


def version() -> str:
    """As in ``0.1.0``; "not installed" of a checkout that only lies in the path."""
    try:
        return importlib.metadata.version("jdarts")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
