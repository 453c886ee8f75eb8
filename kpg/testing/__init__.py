"""Checks for what others write, and environments whose answers are known.

Each check raises an `AssertionError` or a `ValueError` that says what is wrong. Names
are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kpg.environments.tabular import TabularMDP as TabularMDP
    from kpg.testing.algorithm import check_algorithm as check_algorithm
    from kpg.testing.environment import check_environment as check_environment
    from kpg.testing.estimator import check_estimator as check_estimator
    from kpg.testing.family import check_family as check_family
    from kpg.testing.language.reward import check_reward as check_reward
    from kpg.testing.maze import Maze as Maze
    from kpg.testing.probes import Probe as Probe
    from kpg.testing.probes import ProbeEnv as ProbeEnv

_MODULES = {
    "Maze": "kpg.testing.maze",
    "Probe": "kpg.testing.probes",
    "ProbeEnv": "kpg.testing.probes",
    "TabularMDP": "kpg.environments.tabular",
    "check_algorithm": "kpg.testing.algorithm",
    "check_environment": "kpg.testing.environment",
    "check_estimator": "kpg.testing.estimator",
    "check_family": "kpg.testing.family",
    "check_reward": "kpg.testing.language.reward",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'kpg.testing' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
