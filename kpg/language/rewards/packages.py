"""Packages that only some rewards need."""

from __future__ import annotations

import importlib
from typing import Any


def load(module: str, package: str, reward: str) -> Any:
    """Imports a module of an optional package.

    Args:
        module: What to import.
        package: What to install for it.
        reward: Who needs it.

    Returns:
        The module.

    Raises:
        ImportError: If it cannot be imported, with what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"kpg.rewards.{reward} needs the package {package}. Install what all "
            f'rewards need with: pip install "kpg[text]"'
        ) from error
