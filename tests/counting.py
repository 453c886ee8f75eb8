"""An environment that counts, so that each observation says where it comes from."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Counting(gymnasium.Env[Any, Any]):
    """Counts its steps; observes (count, number of the episode, number of the copy).

    Even episodes terminate at the count 3 + copy, odd ones never; a `TimeLimit` of 5
    around it truncates them. In copy 2 both fall on the same step.
    """

    observation_space = spaces.Box(-1e6, 1e6, (3,), np.float32)
    action_space = spaces.Discrete(4)

    def __init__(self, copy: int = 0) -> None:
        self.place = copy
        self.episode = -1
        self.count = 0

    def _observe(self) -> Any:
        return np.array([self.count, self.episode, self.place], np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.episode += 1
        self.count = 0
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        self.count += 1
        ends = self.episode % 2 == 0 and self.count == 3 + self.place
        reward = float(action) + 0.1 * self.count
        return self._observe(), reward, ends, False, {}
