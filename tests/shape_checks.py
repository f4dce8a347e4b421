"""Checks annotations of shapes while the tests run: jaxtyping with beartype."""

import functools
import inspect
from pathlib import Path
from typing import Any, get_args

import jaxtyping

__all__ = ["check", "install", "modules"]

ROOT = Path(__file__).resolve().parents[1]
_jaxtyped = jaxtyping.jaxtyped


def modules() -> list[str]:
    """All modules of jdarts that annotate shapes."""
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / "jdarts").rglob("*.py"))
        if "jaxtyping" in path.read_text()
    ]


def install() -> None:
    """From here on these modules are imported with checks."""
    jaxtyping.install_import_hook(modules(), "beartype.beartype")
    # The hook decorates every function, inner ones whenever the outer one is called,
    # and looks this name up for it: tracing would take a third longer.
    jaxtyping.jaxtyped = lambda **options: functools.partial(check, **options)


def check(checked: Any, **options: Any) -> Any:
    """A function or dataclass with its annotations checked, if one is of a shape.

    Others are left alone: they have protocols that nothing can check at run time, and
    the type checker looks at them. So are all that are made while checks are off.
    """
    if jaxtyping.config.jaxtyping_disable:
        return checked
    annotations = inspect.get_annotations(checked).values()
    shaped = any(map(_of_shape, annotations))
    return _jaxtyped(checked, **options) if shaped else checked


def _of_shape(annotation: Any) -> bool:
    """Whether an annotation, or a part of it, is jaxtyping's."""
    if isinstance(annotation, type) and issubclass(annotation, jaxtyping.AbstractArray):
        return True
    return any(map(_of_shape, get_args(annotation)))
