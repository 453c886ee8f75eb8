"""Keras Policy Gradients: REINFORCE, actor-critic and PPO for TensorFlow and Keras 3.

Submodules are imported on first use: TensorFlow takes seconds to load, and a client of
a served policy and `kpg --help` do without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from kpg import imports
from kpg.version import __version__ as __version__

_MODULES = (
    *("advantages", "callbacks", "distributions", "doctor", "environments", "export"),
    *("losses", "models", "results", "rewards", "schedules", "spaces", "testing"),
    *("text", "trainers"),
)

if TYPE_CHECKING:
    from kpg import advantages as advantages
    from kpg import callbacks as callbacks
    from kpg import distributions as distributions
    from kpg import doctor as doctor
    from kpg import environments as environments
    from kpg import export as export
    from kpg import losses as losses
    from kpg import models as models
    from kpg import results as results
    from kpg import rewards as rewards
    from kpg import schedules as schedules
    from kpg import spaces as spaces
    from kpg import testing as testing
    from kpg import text as text
    from kpg import trainers as trainers
    from kpg.environments.construction import make as make
    from kpg.graph.caching import cache_compilations as cache_compilations
    from kpg.trainers.running.loading import load as load
else:  # a type checker would take any other name for one of kpg's
    _get, _ = imports.lazily(
        "kpg",
        {
            "kpg.environments.construction": "make",
            "kpg.graph.caching": "cache_compilations",
            "kpg.trainers.running.loading": "load",
        },
    )

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            return importlib.import_module(f"kpg.{name}")
        return _get(name)

    def __dir__() -> list[str]:
        return sorted([*_MODULES, "__version__", "cache_compilations", "load", "make"])
