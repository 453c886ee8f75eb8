"""What an environment is to a trainer: `num_envs` copies of one task, stepped together.

There are two kinds, and one contract for both:

- `GraphEnvironment` is made of functions of tensors and runs inside the trainer's
  graph. To write one, derive from `FunctionalEnv`.
- `HostEnvironment` is stepped from Python. To write one, derive from `gymnasium.Env`,
  or from `gymnasium.vector.VectorEnv` to step all copies at once.

`kpg.make` makes either from an id, and `fit` takes what you have: an environment, its
class, or a function that makes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from gymnasium.envs.registration import EnvSpec

from kpg import checks
from kpg.environments.partner import Partner
from kpg.types import Space


class Environment(ABC):
    """`num_envs` copies of one environment, stepped together.

    Attributes:
        observation_space: Space of one observation, not of a batch; `None` if it is
            whatever the policy's is.
        action_space: Space of one action, as `observation_space`.
        num_envs: Number of copies B.
        seed: What the randomness of the environments starts from, or `None`.
        spec: Gymnasium's `EnvSpec` (`id`, `max_episode_steps`, `reward_threshold`), or
            `None` for an environment that is not registered.
    """

    observation_space: Space
    action_space: Space
    num_envs: int
    seed: int | None
    spec: EnvSpec | None

    @property
    @abstractmethod
    def max_episode_steps(self) -> int | None:
        """Number of steps after which an episode is truncated, or `None`."""

    def measured(self) -> dict[str, float]:
        """Returns what the environment measured itself, to be logged by name.

        Each is a mean over everything since the last call. Most have nothing.
        """
        return {}

    def partner(self) -> Partner | None:
        """Returns the model inside that can learn too, if any; call `reset` next."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Releases what the environments hold. May be called twice."""


def checked_num_envs(num_envs: object) -> int:
    """Returns `num_envs`, or raises a `ValueError` if it is not a number of copies."""
    return checks.whole_number("num_envs", num_envs)
