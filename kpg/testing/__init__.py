"""Checks for what others write, and environments whose answers are known.

Each check raises an `AssertionError` or a `ValueError` that says what is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kpg import imports

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

__getattr__, __dir__ = imports.lazily(
    __name__,
    {
        "kpg.testing.maze": "Maze",
        "kpg.testing.probes": "Probe ProbeEnv",
        "kpg.environments.tabular": "TabularMDP",
        "kpg.testing.algorithm": "check_algorithm",
        "kpg.testing.environment": "check_environment",
        "kpg.testing.estimator": "check_estimator",
        "kpg.testing.family": "check_family",
        "kpg.testing.language.reward": "check_reward",
    },
)
