"""From `info["action_mask"]` to an observation that a policy can read."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf
from typing_extensions import override

from kpg import spaces
from kpg.types import Nest, Space


class ActionMaskFromInfo(gym.Wrapper[Any, Any, Any, Any]):
    """Puts the mask of legal actions beside the observation.

    The observation becomes `{"action_mask": mask, "observation": observation}`, for a
    policy that is made with `action_mask="action_mask"`.

    Args:
        env: An environment whose `reset` and `step` give `info["action_mask"]`: 0 where
            a choice is forbidden, 1 where it is legal; an array or a nest that
            flattens, in the order of `tf.nest`, to one number for each choice: n of a
            `Discrete`, the sum of `nvec` of a `MultiDiscrete`, two for each number of a
            `MultiBinary` (that of 0 first), after one another for the parts of a nest.

    Raises:
        ValueError: If the action space has no choices; in `reset` and `step` if the
            mask is missing, has another length or holds something else than 0 and 1.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._choices = sum(choices(env.action_space))
        if self._choices == 0:
            raise ValueError(
                "Only the choices of Discrete, MultiDiscrete and MultiBinary action "
                f"spaces can be masked. Received: {env.action_space}"
            )
        mask_space = gym.spaces.MultiBinary(self._choices)
        self.observation_space = gym.spaces.Dict(
            {"action_mask": mask_space, "observation": env.observation_space}
        )

    @override
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Nest, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        return self._with_mask(observation, info), info

    @override
    def step(self, action: Nest) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        observation = self._with_mask(observation, info)
        return observation, reward, terminated, truncated, info

    def _with_mask(self, observation: Nest, info: dict[str, Any]) -> dict[str, Any]:
        if "action_mask" not in info:
            raise ValueError(
                f"{self.env} must give info['action_mask'] in `reset` and `step`; a "
                f"gymnasium.Wrapper can add it. Received: info with {sorted(info)}"
            )
        parts = tf.nest.flatten(info["action_mask"])
        mask = np.concatenate([np.ravel(part) for part in parts])
        if mask.shape != (self._choices,) or not np.isin(mask, (0, 1)).all():
            raise ValueError(
                f"info['action_mask'] must hold {self._choices} numbers 0 or 1, one "
                f"for each choice of {self.action_space}. Received: "
                f"{mask.size} numbers with the values {np.unique(mask)[:8].tolist()}"
            )
        return {"action_mask": mask.astype(np.int8), "observation": observation}


def choices(space: Space) -> list[int]:
    """Returns how many options each choice has, in the order of a mask."""
    sizes: list[int] = []
    for _, leaf in spaces.leaves(space):
        if isinstance(leaf, gym.spaces.Discrete):
            sizes.append(int(leaf.n))
        elif isinstance(leaf, gym.spaces.MultiDiscrete):
            sizes.extend(np.ravel(leaf.nvec).tolist())
        elif isinstance(leaf, gym.spaces.MultiBinary):
            sizes.extend([2] * int(np.prod(leaf.shape)))
    return sizes
