"""Imports by name: "module:Name" on the command line, and optional packages."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType

from kpg import checks


def module_of(path: str) -> ModuleType:
    """Imports the module of "module:Name"; if that fails, a `ValueError` shows why."""
    module, _, _ = path.partition(":")
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever a module of one's own raises
        raise ValueError(
            "The part before ':' must be a module that can be imported; the command "
            "line also looks in the current folder. Received: "
            f"{path!r}, and importing {module!r} raised {type(error).__name__}: {error}"
        ) from error


def named(path: str) -> object:
    """Returns what "module:Name" names, or raises a `ValueError`; see `module_of`."""
    module, _, name = path.partition(":")
    found = module_of(path)
    if not hasattr(found, name):
        public = [other for other in vars(found) if not other.startswith("_")]
        raise ValueError(
            f"{module!r} has no such name. {checks.hint(name, public)} Received: "
            f"{path!r}"
        )
    return getattr(found, name)


def optional(module: str, package: str, extra: str, user: str) -> ModuleType:
    """Imports a module of a package that only a part of kpg, `user`, needs.

    Raises an `ImportError` that says which `extra` of kpg installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{user} needs the package {package}. Install it with: "
            f'pip install "kpg[{extra}]"'
        ) from error


def lazily(
    package: str, places: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Returns a package's `__getattr__` and `__dir__`, which import names on first use.

    Args:
        package: Its name.
        places: The names that each module has, with blanks between them.
    """
    modules = {name: place for place, names in places.items() for name in names.split()}

    def get(name: str) -> object:
        if name in modules:
            return getattr(importlib.import_module(modules[name]), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get, lambda: sorted([*vars(sys.modules[package]), *modules])
