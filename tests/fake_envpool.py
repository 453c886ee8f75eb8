"""A stand-in for EnvPool with the habits of EnvPool 1.2.5.

They were recorded by stepping `envpool.make("CartPole-v1", env_type="gymnasium",
num_envs=3, seed=5, max_episode_steps=12)` and the same with a limit of 9, which is the
step in which the pole of the first copy falls. `test_envpool.py` asserts
each of them of this class and, in the slow tests, of the real EnvPool:

- `observation_space` and `action_space` are those of one copy;
- the call of `step` after an end ignores the action and resets: reward 0, no flags,
  `elapsed_step` 0;
- `terminated` is false in the step that reaches the limit, whatever else happens;
- `reset(rows)` resets those rows at once, ended or not, and returns only them;
- `reset(seed=…)` warns and ignores the seed; it is 42 unless `make` is given another,
  and copy i has the seed + i;
- a wrong number of actions ends the process;
- `send` and `recv` are the two halves of `step`.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

Factory = Callable[[int], gymnasium.Env[Any, Any]]


class FakePool(VectorEnv[Any, Any, Any]):
    """Steps single environments as EnvPool does.

    Args:
        factory: Makes the environment of a copy, given the number of the copy. It has
            no time limit.
        config: `num_envs`, `seed`, `max_episode_steps`.
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, factory: Factory, config: dict[str, Any]) -> None:
        self.config = config
        self.num_envs = config["num_envs"]
        self.envs = [factory(copy) for copy in range(self.num_envs)]
        self.observation_space = self.single_observation_space = self.envs[
            0
        ].observation_space
        self.action_space = self.single_action_space = self.envs[0].action_space
        self.elapsed = np.zeros(self.num_envs, np.int32)
        self.ended = np.zeros(self.num_envs, bool)
        self.fresh = np.ones(self.num_envs, bool)
        self.sent: deque[Any] = deque()

    def reset(
        self,
        env_id: Any = None,
        *,
        seed: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> Any:
        if seed is not None:
            warnings.warn("EnvPool seeds are fixed; `seed` is ignored.", stacklevel=2)
        rows = range(self.num_envs) if env_id is None else env_id
        observations = [self._start(row) for row in rows]
        return np.stack(observations), {"elapsed_step": self.elapsed[rows].copy()}

    def step(self, actions: Any) -> Any:
        if len(actions) != self.num_envs:
            raise SystemExit("EnvPool ends the process.")
        rows = [self._row(row, action) for row, action in enumerate(actions)]
        observations, rewards, done, truncated = map(np.array, zip(*rows, strict=True))
        infos = {"elapsed_step": self.elapsed.copy()}
        rewards = rewards.astype(np.float32)
        return observations, rewards, done & ~truncated, truncated, infos

    def send(self, actions: Any) -> None:
        self.sent.append(actions)

    def recv(self) -> Any:
        return self.step(self.sent.popleft())

    def _start(self, row: int) -> Any:
        seed = self.config["seed"] + row if self.fresh[row] else None
        self.elapsed[row], self.ended[row], self.fresh[row] = 0, False, False
        return self.envs[row].reset(seed=seed)[0]

    def _row(self, row: int, action: Any) -> tuple[Any, float, bool, bool]:
        if self.ended[row]:
            return self._start(row), 0.0, False, False
        observation, reward, falls, *_ = self.envs[row].step(action)
        self.elapsed[row] += 1
        late = bool(self.elapsed[row] >= self.config["max_episode_steps"])
        self.ended[row] = falls or late
        return observation, float(reward), bool(falls or late), late


class FakeEnvPool:
    """The functions of the module `envpool` that are needed.

    Args:
        envs: For each id a factory and the default time limit.

    Attributes:
        made: The arguments of every call of `make`.
    """

    def __init__(self, envs: dict[str, tuple[Factory, int]]) -> None:
        self.envs = envs
        self.made: list[dict[str, Any]] = []

    def list_all_envs(self) -> list[str]:
        return list(self.envs)

    def make_spec(self, task_id: str, **kwargs: Any) -> Any:
        limit = {"max_episode_steps": self.envs[task_id][1], "reward_threshold": 7.0}
        return SimpleNamespace(config=SimpleNamespace(**{**limit, **kwargs}))

    def make(self, task_id: str, env_type: str, **kwargs: Any) -> FakePool:
        self.made.append(kwargs)
        factory, limit = self.envs[task_id]
        config = {"num_envs": 1, "seed": 42, "max_episode_steps": limit, **kwargs}
        return FakePool(factory, config)
