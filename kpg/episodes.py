"""Whole episodes of one Gymnasium environment, played by whoever acts."""

from __future__ import annotations

from typing import Any, Protocol

import gymnasium

from kpg.types import Nest


class Acts(Protocol):
    """Whoever plays, such as `kpg.models.Player` and `kpg.export.Player`."""

    def act(self, observations: Nest, /) -> Nest:
        """Returns the action for one observation."""

    def reset(self) -> None:
        """Begins an episode."""


def play(
    env: gymnasium.Env[Any, Any], player: Acts, seed: int | None
) -> tuple[float, int]:
    """Plays one episode; returns its undiscounted return and its number of steps.

    The seed `None` carries on with the environment's own generator.
    """
    observation, _ = env.reset(seed=seed)
    player.reset()
    total, steps, ended = 0.0, 0, False
    while not ended:
        action = player.act(observation)
        observation, reward, terminated, truncated, _ = env.step(action)
        total += float(reward)
        steps += 1
        ended = terminated or truncated
    return total, steps
