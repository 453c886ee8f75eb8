"""An environment that paints what it does, without a library for games."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

STEPS, HEIGHT, WIDTH = 6, 20, 32


class Painted(gym.Env[Any, Any]):
    """Six steps; the frame is as bright as time has passed, and tells the action."""

    # Gymnasium's own declaration is of an instance.
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space = gym.spaces.Box(-np.inf, np.inf, (4,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.time = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.time, self.action = 0, 0
        return self._seen(), {}

    def step(self, action: Any) -> Any:
        self.time, self.action = self.time + 1, int(action)
        return self._seen(), 1.0, self.time == STEPS, False, {}

    def render(self) -> Any:
        frame = np.full((HEIGHT, WIDTH, 3), 40 * self.time, np.uint8)
        frame[:, : WIDTH // 2, 0] = 255 * self.action
        return frame

    def _seen(self) -> Any:
        return np.full(4, self.time, np.float32)


gym.register("Painted-v0", "tests.painted:Painted")
