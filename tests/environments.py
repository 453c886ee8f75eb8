"""Small environments that several test files share.

Where what is to be learned matters, `kpg.testing` has the probes, the maze and exact
Markov decision processes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers import TimeLimit

from kpg.environments import FunctionalEnv

Reward = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Walk(FunctionalEnv):
    """Inside the graph: counts its steps, and pays and ends as it is told.

    Args:
        reward: What a step pays, `[B]`, by the time after it `[B]` and the action.
            Defaults to 1.
        length: Steps of an episode, or the least and the most of them, from which they
            are drawn evenly. Defaults to `None`: none ends.
        shows_time: Whether the steps that are left are observed, or in an endless one
            those that were taken. Defaults to `True`; otherwise 0 is.
        action_space: Defaults to two choices.
        max_episode_steps: The limit that cuts episodes. Defaults to none.
    """

    def __init__(
        self,
        reward: Reward | None = None,
        length: int | tuple[int, int] | None = None,
        *,
        shows_time: bool = True,
        action_space: gym.Space[Any] | None = None,
        max_episode_steps: int | None = None,
    ) -> None:
        super().__init__()
        self.rewarded = reward or (lambda time, action: tf.ones_like(time))
        self.lengths = (length, length) if isinstance(length, int) else length
        self.shows_time = shows_time
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (1,))
        self.action_space = action_space or gym.spaces.Discrete(2)
        self.max_episode_steps = max_episode_steps

    def initial(self, rng: Any, params: Any = None) -> tf.Tensor:
        """Returns `[B, 2]`, the steps that were taken and those that are left."""
        none = tf.zeros([rng.batch_size, 1])
        if self.lengths is None:
            return tf.concat([none, none + np.inf], axis=1)
        least, most = self.lengths
        left = tf.cast(rng.integers(least, most + 1, (1,)), tf.float32)
        return tf.concat([none, left], axis=1)

    def transition(
        self, state: tf.Tensor, action: Any, rng: Any, params: Any = None
    ) -> tf.Tensor:
        return state + [1.0, -1.0]

    def observation(self, state: tf.Tensor, rng: Any, params: Any = None) -> tf.Tensor:
        column = state[:, :1] if self.lengths is None else state[:, 1:]
        return column if self.shows_time else tf.zeros_like(column)

    def reward(
        self,
        state: tf.Tensor,
        action: Any,
        next_state: tf.Tensor,
        rng: Any,
        params: Any = None,
    ) -> tf.Tensor:
        return self.rewarded(next_state[:, 0], action)

    def terminal(self, state: tf.Tensor, rng: Any, params: Any = None) -> tf.Tensor:
        return state[:, 1] <= 0.0


class Counting(gym.Env[Any, Any]):
    """On the host: counts its steps; observes (count, number of the episode, copy).

    Even episodes terminate at the count 3 + copy, odd ones never; a `TimeLimit` of 5
    around it truncates them. In copy 2 both fall on the same step.
    """

    observation_space = gym.spaces.Box(-1e6, 1e6, (3,), np.float32)
    action_space = gym.spaces.Discrete(4)

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


def limited(copy: int, limit: int = 5) -> gym.Env[Any, Any]:
    """Returns a `Counting` whose odd episodes are cut by a time limit."""
    return TimeLimit(Counting(copy), limit)


class Paid(gym.Env[Any, Any]):
    """On the host: three steps, each of which pays its action, which is kept."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,))
    action_space = gym.spaces.Box(-np.inf, np.inf, (1,))

    def __init__(self) -> None:
        self.actions: list[float] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.left = 3
        return np.array([self.left], np.float32), {}

    def step(self, action: Any) -> Any:
        self.left -= 1
        self.actions.append(float(action[0]))
        observation = np.array([self.left], np.float32)
        return observation, self.actions[-1], self.left == 0, False, {}


class Noted(SyncVectorEnv):
    """Copies of `Counting` that note the seed of each reset of all of them.

    Attributes:
        seeds: What `reset` was given, in order.
        breaks: Whether the next step raises a `RuntimeError`.
    """

    def __init__(self, num_envs: int = 2, limit: int = 5) -> None:
        super().__init__([lambda: limited(0, limit)] * num_envs)
        self.seeds: list[int | None] = []
        self.breaks = False

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.seeds.append(seed)
        return super().reset(seed=seed, options=options)

    def step(self, actions: Any) -> Any:
        if self.breaks:
            self.breaks = False
            raise RuntimeError("a step fails")
        return super().step(actions)
