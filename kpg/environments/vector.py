"""Gymnasium's vector environments behind one contract, whatever their autoreset mode.

Reference: https://farama.org/Vector-Autoreset-Mode.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from gymnasium import Space
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array, iterate

from kpg.environments.environment import Environment


class HostStep(NamedTuple):
    """What one step of every copy led to.

    Attributes:
        observations: `[B, ...]` what to act on next; after a reset, that of the reset.
        next_observations: `[B, ...]` the true next observation of this step: where an
            episode ended the final one, never that of a reset. Without meaning where
            `valid` is false. It is the array `observations` itself if all rows agree.
        rewards: `[B]` float32.
        terminated: `[B]` bool; nothing follows.
        truncated: `[B]` bool; the episode was cut. Never together with `terminated`.
        valid: `[B]` bool; `False` where the environment was only reset and ignored the
            action: the row is no step.
    """

    observations: Any
    next_observations: Any
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    valid: np.ndarray


class HostEnvironment(Environment):
    """A `gymnasium.vector.VectorEnv` whose autoreset mode cannot be noticed.

    - NEXT_STEP: the final observation comes with the end, and the next call of `step`
      ignores the action and resets; that row has `valid=False`.
    - SAME_STEP: the reset happens at once; the final observation is in `infos`.
    - DISABLED: nothing resets by itself; `step` resets the rows that ended.

    Args:
        vector_env: The environments. `metadata["autoreset_mode"]` says their mode.
        seed: Seed of the first reset. Defaults to `None`, Gymnasium's own choice.

    Raises:
        ValueError: If the autoreset mode is missing or unknown.
    """

    def __init__(self, vector_env: VectorEnv[Any, Any, Any], seed: int | None = None):
        """See `HostEnvironment`."""
        self.vector_env = vector_env
        self.autoreset_mode = _mode(vector_env)
        self.num_envs = vector_env.num_envs
        self.seed = seed
        self.spec = vector_env.spec
        self.observation_space = vector_env.single_observation_space
        self.action_space = vector_env.single_action_space
        self._first_seed = seed
        self._ended: np.ndarray | None = None
        self._closed = False

    @property
    def max_episode_steps(self) -> int | None:
        """Number of steps after which an episode is truncated, if it has a limit."""
        return None if self.spec is None else self.spec.max_episode_steps

    def reset(self, seed: int | None = None) -> Any:
        """Starts a new episode in every copy.

        Args:
            seed: Seed of all copies. Defaults to `None`: the seed of the constructor
                the first time, and afterwards wherever the randomness stands.

        Returns:
            Observations `[B, ...]`.
        """
        if seed is None:
            seed, self._first_seed = self._first_seed, None
        observations, _ = self.vector_env.reset(seed=seed)
        self._ended = np.zeros(self.num_envs, bool)
        return self._checked(self._own(observations), "observations")

    def step(self, actions: Any) -> HostStep:
        """Steps every copy, and resets those whose episode has ended.

        Args:
            actions: `[B, ...]` actions as the action space wants them.

        Returns:
            A `HostStep`.

        Raises:
            ValueError: If `reset` was never called, the number of actions is wrong, or
                the environment gives an observation or reward that is not finite.
        """
        if self._ended is None:
            raise ValueError("Call `reset` before `step`. Received: no reset so far.")
        observations, rewards, terminated, truncated, infos = self.vector_env.step(
            self._batch(actions)
        )
        observations = self._own(observations)
        terminated = np.array(terminated, bool)
        truncated = np.array(truncated, bool) & ~terminated
        ended = terminated | truncated
        valid = np.ones(self.num_envs, bool)
        next_observations = observations
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            valid = ~self._ended
        elif ended.any():
            next_observations, observations = self._reset_rows(
                observations, ended, infos
            )
        self._ended = ended
        return HostStep(
            self._checked(observations, "observations"),
            self._checked(next_observations, "observations"),
            self._checked(np.array(rewards, np.float32), "rewards"),
            terminated,
            truncated,
            valid,
        )

    def close(self) -> None:
        """See `Environment.close`."""
        if not self._closed:
            self.vector_env.close()
        self._closed = True

    def _reset_rows(
        self, observations: Any, ended: np.ndarray, infos: dict[str, Any]
    ) -> tuple[Any, Any]:
        """Returns the true next observations and those to act on after the resets."""
        if self.autoreset_mode is AutoresetMode.DISABLED:
            fresh, _ = self.vector_env.reset(options={"reset_mask": ended.copy()})
            return observations, self._own(fresh)
        finals = infos.get("final_obs")
        if finals is None:
            raise ValueError(
                "A vector environment with SAME_STEP autoreset must give "
                '`infos["final_obs"]` when an episode ends. Received: infos with '
                f"{sorted(infos)}"
            )
        space = self.observation_space
        rows = list(iterate(self.vector_env.observation_space, observations))
        for index in np.flatnonzero(ended):
            rows[index] = finals[index]
        return _stacked(space, rows), observations

    def _own(self, observations: Any) -> Any:
        """Copies a batch: some environments write the next one into the same array."""
        if isinstance(observations, np.ndarray):
            return observations.copy()
        space = self.vector_env.observation_space
        return _stacked(self.observation_space, list(iterate(space, observations)))

    def _batch(self, actions: Any) -> Any:
        """Gives the actions the dtype of the batched space, which many check."""
        space = self.vector_env.action_space
        if space.dtype is not None:
            actions = np.asarray(actions, space.dtype)
        if space.shape is not None and np.shape(actions) != space.shape:
            raise ValueError(
                f"`actions` must have the shape {space.shape}, one action for each of "
                f"the {self.num_envs} environments. Received: shape {np.shape(actions)}"
            )
        return actions

    def _checked(self, values: Any, name: str) -> Any:
        """Refuses inf and nan: they would turn every weight into nan."""
        if (
            not isinstance(values, np.ndarray)
            or values.dtype.kind != "f"
            or np.isfinite(values).all()
        ):
            return values
        finite = np.isfinite(values).reshape(self.num_envs, -1).all(axis=1)
        env_id = "the environment" if self.spec is None else self.spec.id
        raise ValueError(
            f"{env_id} gave {name} that are not finite. Received: inf or nan in "
            f"environments {np.flatnonzero(~finite)[:8].tolist()} of {self.num_envs}. "
            "Wrap or mend the environment."
        )


def _mode(vector_env: VectorEnv[Any, Any, Any]) -> AutoresetMode:
    """Reads the autoreset mode; EnvPool and older packages write it as a string."""
    mode = vector_env.metadata.get("autoreset_mode")
    for known in AutoresetMode:
        if mode in (known, known.value, known.name):
            return known
    raise ValueError(
        '`metadata["autoreset_mode"]` of a vector environment must be one of '
        f"{[str(known) for known in AutoresetMode]}: without it nobody can tell a "
        f"final observation from that of a reset. Received: {mode!r}"
    )


def _stacked(space: Space[Any], rows: list[Any]) -> Any:
    """Joins single observations to a batch of its own."""
    batch: Any = create_empty_array(space, len(rows), np.empty)
    return concatenate(space, rows, batch)
