"""From sums that a graph returns to the logs that callbacks get."""

from __future__ import annotations

from typing import Any

import numpy as np

from kpg.trainers.acting.graph import Episodes


class EpochLog:
    """Accumulates what the executions of one epoch return.

    Args:
        names: `Learner.names`.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._sums = np.zeros(len(self._names) + len(Episodes._fields))
        self._iterations = 0
        self._env_steps = 0
        self.seconds = 0.0

    def add(
        self,
        sums: np.ndarray[Any, Any],
        iterations: int,
        env_steps: int,
        seconds: float,
    ) -> None:
        """Adds an execution.

        Args:
            sums: What `Engine.run` returned.
            iterations: Iterations in it.
            env_steps: Environment steps in it.
            seconds: Time that it took.
        """
        self._sums += sums
        self._iterations += iterations
        self._env_steps += env_steps
        self.seconds += seconds

    @property
    def broken(self) -> str | None:
        """Who gave something that is not finite: "environment", "policy" or nobody."""
        first = len(self._names)
        environment, policy = self._sums[first - 2 : first] > 0
        return "environment" if environment else "policy" if policy else None

    def batch_logs(self) -> dict[str, float]:
        """Returns the running means of the epoch, without what is not known yet."""
        logs = self.epoch_logs()
        return {
            name: value
            for name, value in logs.items()
            if name == "loss" or not np.isnan(value)
        }

    def epoch_logs(self) -> dict[str, float]:
        """Returns the means over the epoch."""
        episodes = Episodes(*self._sums[len(self._names) :])
        count = episodes.count if episodes.count else np.nan
        means = self._sums[: len(self._names) - 2] / max(self._iterations, 1)
        return {
            "return": float(episodes.returns / count),
            "length": float(episodes.lengths / count),
            "episodes": int(episodes.count),
            "steps_per_second": self._env_steps / max(self.seconds, 1e-9),
            **dict(zip(self._names[:-2], map(float, means), strict=True)),
        }
