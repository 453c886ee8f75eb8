"""What an environment is to a trainer: copies of one task, stepped together."""

from __future__ import annotations

from abc import ABC, abstractmethod

from gymnasium.envs.registration import EnvSpec

from kpg.environments.partner import Partner
from kpg.types import Space


class Environment(ABC):
    """`num_envs` copies of one environment, stepped together.

    A `GraphEnvironment` is made of functions of tensors and runs inside the trainer's
    graph; derive from `FunctionalEnv` to write one. A `HostEnvironment` steps a
    `gymnasium.Env` or `gymnasium.vector.VectorEnv` from Python.

    Attributes:
        observation_space: Space of one observation; `None` if it is the policy's.
        action_space: Space of one action, likewise.
        num_envs: Number of copies B.
        seed: What the randomness of the environments starts from, or `None`.
        spec: Gymnasium's `EnvSpec` (`id`, `max_episode_steps`, `reward_threshold`), or
            `None` for an environment that is not registered.
        group_size: Adjacent copies that begin alike, to be compared with each other;
            `None` (the default) if there are no such groups.
        truncates: Whether an episode may be cut; `False` where its limit terminates it.
            Defaults to `True`.
        episode_steps: Steps that an iteration must have, since all episodes begin and
            end in it; `None` (the default) for any number.
    """

    observation_space: Space
    action_space: Space
    num_envs: int
    seed: int | None
    spec: EnvSpec | None
    group_size: int | None = None
    truncates: bool = True
    episode_steps: int | None = None

    @property
    def name(self) -> str:
        """What messages call it: its id, or else its class."""
        return self.spec.id if self.spec else type(self).__name__

    @property
    @abstractmethod
    def max_episode_steps(self) -> int | None:
        """Number of steps after which an episode is truncated, or `None`."""

    def measured(self) -> dict[str, float]:
        """Returns what was measured inside, to be logged: means since the last call."""
        return {}

    def share(self, worker: int, workers: int) -> Environment:
        """Returns what one of several workers, counted from 0, steps of the copies.

        That is all of it where each replica's graph takes its own.
        """
        return self

    def partner(self) -> Partner | None:
        """Returns the model inside that can learn too, if any; call `reset` next."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Releases what the environments hold. May be called twice."""
