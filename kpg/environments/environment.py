"""What in-graph and host environments have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from gymnasium import Space
from gymnasium.envs.registration import EnvSpec

from kpg.environments.partner import Partner


class Environment(ABC):
    """`num_envs` copies of one environment, stepped together.

    Attributes:
        observation_space: Space of one observation, not of a batch; `None` if it is
            that of the policy, whatever it be.
        action_space: Space of one action, as `observation_space`.
        num_envs: Number of copies B.
        seed: What the randomness of the environments starts from, or `None`.
        spec: Gymnasium's `EnvSpec` (`id`, `max_episode_steps`, `reward_threshold`), or
            `None` for an environment that no registry knows.
    """

    observation_space: Space[Any]
    action_space: Space[Any]
    num_envs: int
    seed: int | None
    spec: EnvSpec | None

    @property
    @abstractmethod
    def max_episode_steps(self) -> int | None:
        """Number of steps after which an episode is truncated, if it has a limit."""

    def measured(self) -> dict[str, float]:
        """Returns what the environment has to say of itself, to be logged.

        They are means over all that happened since the last call, by name; none unless
        an environment says otherwise.
        """
        return {}

    def partner(self) -> Partner | None:
        """Returns the model inside that can learn, too; it begins with a `reset`.

        There is none unless an environment says otherwise.
        """
        return None

    @abstractmethod
    def close(self) -> None:
        """Releases what the environments hold. May be called twice."""


def checked_num_envs(num_envs: Any) -> int:
    """Returns `num_envs`, or raises a `ValueError` if it is no positive integer."""
    if isinstance(num_envs, bool) or not isinstance(num_envs, int) or num_envs < 1:
        raise ValueError(
            f"`num_envs` must be a positive integer. Received: num_envs={num_envs!r}"
        )
    return num_envs
