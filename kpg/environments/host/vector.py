"""Gymnasium's vector environments behind one contract, whatever their autoreset mode.

Reference: https://farama.org/Vector-Autoreset-Mode.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import tensorflow as tf
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array

from kpg import spaces
from kpg.environments.environment import Environment
from kpg.environments.partner import Partner


class HostStep(NamedTuple):
    """What one step of every copy led to.

    Observations are nests of arrays as `kpg.spaces.encode` makes them.

    Attributes:
        observations: `[B, ...]` what to act on next; after a reset, that of the reset.
        next_observations: `[B, ...]` the true next observation of this step: where an
            episode ended the final one, never that of a reset. Without meaning where
            `valid` is false. It is the nest `observations` itself if all rows agree.
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

    Copies that run outside of Python can be stepped while a policy acts for others. A
    vector environment that can do so has `parts`, a tuple of equal slices of its
    copies, and the methods `step_async(actions, part)` and `step_wait(part)`, which
    begin and end a step of one of them; `EnvPoolVectorEnv` is one.

    Args:
        vector_env: The environments. `metadata["autoreset_mode"]` says their mode.
        seed: Seed of the first reset. Defaults to `None`, Gymnasium's own choice.

    Attributes:
        parts: Slices of the copies that are stepped apart; one of all, unless the
            vector environment says otherwise.

    Raises:
        ValueError: If the autoreset mode is missing or unknown, or a space is not
            supported.
    """

    def __init__(self, vector_env: VectorEnv[Any, Any, Any], seed: int | None = None):
        """See `HostEnvironment`."""
        self.vector_env = vector_env
        self.autoreset_mode = _mode(vector_env)
        self.num_envs = vector_env.num_envs
        # Gymnasium's own class knows no parts.
        self._apart: Any = vector_env if hasattr(vector_env, "parts") else None
        self.parts: tuple[slice, ...] = getattr(
            vector_env, "parts", (slice(0, vector_env.num_envs),)
        )
        self.seed = seed
        # The environments of EnvPool have a `spec` of another kind.
        spec = vector_env.spec
        self.spec = spec if isinstance(spec, EnvSpec) else None
        self.observation_space = vector_env.single_observation_space
        self.action_space = vector_env.single_action_space
        spaces.check(self.observation_space, "observation")
        spaces.check(self.action_space, "action")
        self._names = _names(self.observation_space)
        self._first_seed = seed
        self._ended = np.zeros(vector_env.num_envs, bool)
        self._begun = False
        self._sent: Any = None
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
            Observations, a nest of `[B, ...]`.
        """
        if seed is None:
            seed, self._first_seed = self._first_seed, None
        observations, _ = self.vector_env.reset(seed=seed)
        self._ended[:] = False
        self._begun = True
        return self._encode(observations)

    def step(self, actions: Any) -> HostStep:
        """Steps every copy, and resets those whose episode has ended.

        Args:
            actions: `[B, ...]` actions as the action space wants them; a dictionary or
                tuple of such arrays for a `Dict` or `Tuple`.

        Returns:
            A `HostStep`.

        Raises:
            ValueError: If `reset` was never called, the number of actions or their
                structure is wrong, or the environment gives an observation or reward
                that is not finite.
        """
        batch = self._batch(actions, self.num_envs)
        if len(self.parts) == 1:
            self._begin(batch, 0)
            return self.receive()
        for part, rows in enumerate(self.parts):
            own = tf.nest.map_structure(operator.itemgetter(rows), batch)
            self._begin(own, part)
        received = [self.receive(part) for part in range(len(self.parts))]
        return HostStep(*(joined(field) for field in zip(*received, strict=True)))

    def send(self, actions: Any, part: int = 0) -> None:
        """Begins a step of the copies `parts[part]`, which `receive` is to end.

        Args:
            actions: As for `step`, of these copies alone.
            part: Which of `parts`. Defaults to the first.

        Raises:
            ValueError: See `step`.
        """
        rows = self.parts[part]
        self._begin(self._batch(actions, rows.stop - rows.start), part)

    def receive(self, part: int = 0) -> HostStep:
        """Ends a step that `send` began, and resets the copies whose episode ended.

        Returns:
            A `HostStep` of the copies `parts[part]`.

        Raises:
            ValueError: See `step`.
        """
        rows = self.parts[part]
        if self._apart is None:
            result = self.vector_env.step(self._sent)
        else:
            result = self._apart.step_wait(part)
        observations, rewards, terminated, truncated, infos = result
        observations = self._encode(observations, rows.start)
        terminated = np.array(terminated, bool)
        truncated = np.array(truncated, bool) & ~terminated
        ended = terminated | truncated
        valid = np.ones(len(ended), bool)
        next_observations = observations
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            valid = ~self._ended[rows]
        elif ended.any():
            next_observations, observations = self._reset_rows(
                observations, ended, infos, rows
            )
        self._ended[rows] = ended
        rewards = np.array(rewards, np.float32)
        self._check_finite(rewards, "rewards", rows.start)
        return HostStep(
            observations, next_observations, rewards, terminated, truncated, valid
        )

    def _begin(self, batch: Any, part: int) -> None:
        if self._apart is None:
            self._sent = batch
        else:
            self._apart.step_async(batch, part)

    def measured(self) -> dict[str, float]:
        """See `Environment.measured`: what `measured()` of the vector environment is.

        Most have no such method.
        """
        measured = getattr(self.vector_env, "measured", dict)
        return dict(measured())

    def partner(self) -> Partner | None:
        """See `Environment.partner`: what `partner()` of the vector environment is."""
        partner: Partner | None = getattr(self.vector_env, "partner", lambda: None)()
        return partner

    def close(self) -> None:
        """See `Environment.close`."""
        if not self._closed:
            self.vector_env.close()
        self._closed = True

    def _reset_rows(
        self, observations: Any, ended: np.ndarray, infos: dict[str, Any], part: slice
    ) -> tuple[Any, Any]:
        """Returns the true next observations and those to act on after the resets."""
        if self.autoreset_mode is AutoresetMode.DISABLED:
            mask = np.zeros(self.num_envs, bool)
            mask[part] = ended
            fresh, _ = self.vector_env.reset(options={"reset_mask": mask})
            fresh = self._encode(fresh)
            if len(self.parts) > 1:
                fresh = tf.nest.map_structure(operator.itemgetter(part), fresh)
            return observations, fresh
        rows = np.flatnonzero(ended)
        finals = self._encode(_finals(self.observation_space, infos, rows))

        def replaced(leaf: np.ndarray, final: np.ndarray) -> np.ndarray:
            leaf = leaf.copy()
            leaf[rows] = final
            return leaf

        return tf.nest.map_structure(replaced, observations, finals), observations

    def _encode(self, observations: Any, first: int = 0) -> Any:
        """Copies a batch: some environments write the next one into the same array."""
        encoded = spaces.encode(self.observation_space, observations)
        plain = isinstance(encoded, np.ndarray)
        leaves = [encoded] if plain else tf.nest.flatten(encoded)
        for name, leaf in zip(self._names, leaves, strict=True):
            self._check_finite(leaf, name, first)
        return encoded

    def _batch(self, actions: Any, count: int) -> Any:
        if not self._begun:
            raise ValueError("Call `reset` before `step`. Received: no reset so far.")
        return self._shaped(self.action_space, actions, count)

    def _shaped(self, space: gym.Space[Any], actions: Any, count: int) -> Any:
        """Gives actions the structure and the dtypes of the space, which many check."""
        if space.shape is not None:
            values = np.asarray(actions, space.dtype)
            wanted = (count, *space.shape)
            if values.shape == wanted:
                return values
            raise ValueError(
                f"`actions` must have the shape {wanted}, one {space} for each of the "
                f"{count} environments. Received: shape {values.shape}"
            )
        if isinstance(space, gym.spaces.Dict):
            if not isinstance(actions, Mapping) or {*actions} != {*space}:
                raise self._wrong_structure(actions)
            return {key: self._shaped(space[key], actions[key], count) for key in space}
        inside = space.spaces if isinstance(space, gym.spaces.Tuple) else ()
        if not isinstance(actions, (tuple, list)) or len(actions) != len(inside):
            raise self._wrong_structure(actions)
        parts = zip(inside, actions, strict=True)
        return tuple(self._shaped(part, values, count) for part, values in parts)

    def _wrong_structure(self, actions: Any) -> ValueError:
        """Says how the actions of a `Dict` or `Tuple` must look."""
        keys = sorted(actions) if isinstance(actions, Mapping) else type(actions)
        return ValueError(
            f"`actions` must be a nest of batches like {self.action_space}. Received: "
            f"{keys}"
        )

    def _check_finite(self, values: np.ndarray, name: str, first: int = 0) -> None:
        """Refuses inf and nan: they would turn every weight into nan."""
        if values.dtype.kind != "f" or np.isfinite(values).all():
            return
        finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
        env_id = "The environment" if self.spec is None else self.spec.id
        raise ValueError(
            f"{env_id} gave {name} that are not finite. Received: inf or nan in rows "
            f"{(first + np.flatnonzero(~finite)[:8]).tolist()} of {self.num_envs}. "
            "Wrap or mend the environment."
        )


def joined(parts: Sequence[Any]) -> Any:
    """Puts the nests `[N, ...]` of several parts below each other."""
    if len(parts) == 1:
        return parts[0]
    return tf.nest.map_structure(lambda *leaves: np.concatenate(leaves), *parts)


def _names(space: gym.Space[Any]) -> list[str]:
    """Names the leaves of observations, for errors."""
    paths = [path for path, _ in spaces.leaves(space)]
    return ["observations" + "".join(f"[{key!r}]" for key in path) for path in paths]


def _finals(space: gym.Space[Any], infos: dict[str, Any], rows: np.ndarray) -> Any:
    """Batches the final observations of the rows whose episodes ended."""
    finals = infos.get("final_obs")
    if finals is None:
        raise ValueError(
            "A vector environment with SAME_STEP autoreset must give "
            '`infos["final_obs"]` when an episode ends. Received: infos with '
            f"{sorted(infos)}"
        )
    empty: Any = create_empty_array(space, len(rows), np.empty)
    return concatenate(space, [finals[row] for row in rows], empty)


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
