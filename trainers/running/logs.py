"""From the sums that engines return to the logs of callbacks."""

from __future__ import annotations

import math

from kpg.trainers.acting.graph import Episodes
from kpg.trainers.learning.iteration import BROKEN
from kpg.types import Logs


class EpochLog:
    """Accumulates what the calls of one epoch return."""

    def __init__(self) -> None:
        self._sums: Logs = {}
        self._iterations = 0
        self._env_steps = 0
        self.seconds = 0.0

    def add(self, sums: Logs, iterations: int, env_steps: int, seconds: float) -> None:
        """Adds a call of `Engine.run`: its iterations, environment steps, seconds."""
        for name, number in sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + number
        self._iterations += iterations
        self._env_steps += env_steps
        self.seconds += seconds

    @property
    def broken(self) -> str | None:
        """The member of `BROKEN` that gave values that are not finite, or `None`."""
        return next((name for name in BROKEN if self._sums[name] > 0), None)

    def batch_logs(self) -> Logs:
        """Returns the running means of the epoch, without unknown ones."""
        return {
            name: value
            for name, value in self.epoch_logs().items()
            if name == "loss" or not math.isnan(value)
        }

    def epoch_logs(self) -> Logs:
        """Returns the means over the epoch."""
        count = self._sums.get("number", 0.0)
        hidden = (*BROKEN, *Episodes._fields)
        return {
            "return": self._sums["returns"] / count if count else math.nan,
            "length": self._sums["lengths"] / count if count else math.nan,
            "episodes": int(count),
            "steps_per_second": self._env_steps / max(self.seconds, 1e-9),
            **{
                name: number / max(self._iterations, 1)
                for name, number in self._sums.items()
                if name not in hidden
            },
        }
