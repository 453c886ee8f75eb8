"""The only copy of a vector environment, as a plain environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array, iterate
from typing_extensions import override

from kpg.types import Nest


class SingleEnv(gym.Env[Any, Any]):
    """A `gymnasium.Env` over a vector environment that has one copy.

    The vector environment's autoreset must be DISABLED, since the user resets, or a
    `ValueError` is raised.
    """

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(self, vector_env: VectorEnv[Any, Any, Any]) -> None:
        mode = vector_env.metadata.get("autoreset_mode")
        if vector_env.num_envs != 1 or mode is not AutoresetMode.DISABLED:
            raise ValueError(
                "A plain environment needs a vector environment with num_envs=1 and "
                f"autoreset_mode=AutoresetMode.DISABLED. Received: "
                f"num_envs={vector_env.num_envs}, autoreset_mode={mode}"
            )
        self.vector_env = vector_env
        self.observation_space = vector_env.single_observation_space
        self.action_space = vector_env.single_action_space
        self.spec = vector_env.spec
        truncates = vector_env.metadata.get("truncates", True)
        self.metadata = {**self.metadata, "truncates": truncates}

    @override
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Nest, dict[str, Any]]:
        super().reset(seed=seed)
        observations, infos = self.vector_env.reset(seed=seed)
        return self._first(observations), _only(infos)

    @override
    def step(self, action: Nest) -> tuple[Nest, float, bool, bool, dict[str, Any]]:
        empty: Any = create_empty_array(self.action_space, 1)
        actions = concatenate(self.action_space, [action], empty)
        observations, rewards, *ends, infos = self.vector_env.step(actions)
        terminated, truncated = (bool(end[0]) for end in ends)
        first = self._first(observations)
        return first, float(rewards[0]), terminated, truncated, _only(infos)

    @override
    def close(self) -> None:
        self.vector_env.close()

    def _first(self, observations: Nest) -> Nest:
        return next(iter(iterate(self.vector_env.observation_space, observations)))


def _only(infos: dict[str, Any]) -> dict[str, Any]:
    """Returns what is known of the only copy; a mask says whether something is."""
    return {
        name: values[0]
        for name, values in infos.items()
        if not name.startswith("_") and infos.get(f"_{name}", [True])[0]
    }
