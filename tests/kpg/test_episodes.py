"""Episodes played by whoever acts."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from kpg.episodes import play


class Alternating:
    """Pushes left and right in turn, from the left."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.resets = 0

    def act(self, observations: Any) -> int:
        self.seen.append(observations)
        return len(self.seen) % 2

    def reset(self) -> None:
        self.resets += 1


def test_an_episode_is_played_to_its_end() -> None:
    env, player = gym.make("CartPole-v1"), Alternating()
    total, steps = play(env, player, seed=3)
    assert total == steps == len(player.seen)  # CartPole pays 1 a step
    assert 8 <= steps < 500 and player.resets == 1
    wanted, _ = gym.make("CartPole-v1").reset(seed=3)
    np.testing.assert_array_equal(player.seen[0], wanted)
    again = Alternating()
    assert play(env, again, seed=3) == (total, steps)
    np.testing.assert_array_equal(again.seen, player.seen)
    play(env, again, seed=None)
    assert not np.array_equal(again.seen[steps], wanted)
    env.close()
