"""Modules that are imported when they are first used.

For what takes long to import and what most commands never touch: `--help` and an error
of spelling should not wait for a library of checkpoints.
"""

import importlib
from types import ModuleType
from typing import Any

__all__ = ["LazyModule"]


class LazyModule(ModuleType):
    """Stands for a module; the first attribute that is asked for imports it.

    A type checker is shown the import itself, under ``if TYPE_CHECKING``. Annotations
    that name the module have to be strings.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked for by the import system and by debuggers
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)
