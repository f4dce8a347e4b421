"""Checks annotations of shapes while the tests run: jaxtyping with beartype."""

import inspect
from pathlib import Path
from typing import Any, get_args

import jaxtyping
from beartype import beartype

__all__ = ["check", "install", "modules"]

ROOT = Path(__file__).resolve().parents[1]


def modules() -> list[str]:
    """All modules of jdarts that annotate shapes."""
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / "jdarts").rglob("*.py"))
        if "jaxtyping" in path.read_text()
    ]


def install() -> None:
    """From here on these modules are imported with checks."""
    jaxtyping.install_import_hook(modules(), "shape_checks.check")


def check(function: Any) -> Any:
    """The function with its annotations checked, if one of them is of a shape.

    Others are left alone: they have protocols that nothing can check at run time, and
    the type checker looks at them.
    """
    if not inspect.isfunction(function):
        return function
    annotated = inspect.get_annotations(function).values()
    return beartype(function) if any(map(_of_shape, annotated)) else function


def _of_shape(annotation: Any) -> bool:
    """Whether an annotation, or a part of it, is jaxtyping's."""
    if isinstance(annotation, type) and issubclass(annotation, jaxtyping.AbstractArray):
        return True
    return any(map(_of_shape, get_args(annotation)))
