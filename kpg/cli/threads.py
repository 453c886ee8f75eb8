"""How many threads TensorFlow gets: one where the networks are small."""

from __future__ import annotations

import argparse
import os

from kpg.classic_control import ENTRIES
from kpg.cli.kind import kind_of
from kpg.cli.runs import Run
from kpg.types import Config

# The widest layer that was measured, see docs/performance.md.
_WIDEST = 64
_VARIABLES = {"TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"}


def wanted(
    options: argparse.Namespace, found: Run | None, settings: Config
) -> int | None:
    """Returns the threads of an operation, or `None`: that is TensorFlow's to say.

    Without --threads or a variable of TensorFlow that says it, it is one where all of a
    training is one program of small matrices, for the run that goes on, if one was
    `found`, or by the `settings` that were typed. To share them out costs more than it
    brings.
    """
    if options.threads is not None:
        threads: int = options.threads
        return threads
    id, policy = options.env, settings
    if found is not None:
        saved = found.settings()
        id, policy = saved["env"], saved.get("preset", {}).get("policy", {})
    left = _VARIABLES.isdisjoint(os.environ) and options.strategy is None
    if left and id in ENTRIES and _is_small(_tuned(id, settings) | policy):
        return 1
    return None


def _is_small(settings: Config) -> bool:
    widths = settings.get("hidden_units") or [0]
    narrow = isinstance(widths, (list, tuple)) and max(widths) <= _WIDEST
    return narrow and settings.get("memory") is None


def _tuned(id: str, settings: Config) -> Config:
    entries = kind_of(id).entries(id)
    first = next(iter(entries.values()))
    policy: Config = entries.get(str(settings.get("algorithm")), first)["policy"]
    return policy
