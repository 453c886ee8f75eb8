"""Gymnasium's vector environments behind one contract for all autoreset modes."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

import gymnasium as gym
import numpy as np
import tensorflow as tf
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array
from typing_extensions import override

from kpg import checks, spaces
from kpg.environments.environment import Environment
from kpg.environments.partner import Partner
from kpg.limits import time_limit
from kpg.types import Array, Nest, Space

Infos: TypeAlias = dict[str, Any]


class HostStep(NamedTuple):
    """What one step of every copy led to.

    Attributes:
        observations: `[B, ...]` what to act on next, a nest of arrays as
            `kpg.spaces.encode` makes them; after a reset, that of the reset.
        next_observations: `[B, ...]` the true next observation of this step: where an
            episode ended the final one. Meaningless where `valid` is false; the nest
            `observations` itself if all rows agree.
        rewards: `[B]` float32.
        terminated: `[B]` bool; nothing follows.
        truncated: `[B]` bool; the episode was cut. Never together with `terminated`.
        valid: `[B]` bool; `False` where the environment was only reset and ignored the
            action, so that the row is not a step.
        scored: `[B]` bool; `False` where an episode ended whose return nobody knows, so
            that nothing is learned from it: the environment's `unscored`, if it has it.
    """

    observations: Nest
    next_observations: Nest
    rewards: Array
    terminated: Array
    truncated: Array
    valid: Array
    scored: Array


class _Parted(Protocol):
    """A vector environment whose copies can be stepped in parts."""

    parts: tuple[slice, ...]

    def step_async(self, actions: Nest, part: int) -> None: ...

    def step_wait(self, part: int) -> tuple[Nest, Array, Array, Array, Infos]: ...


class HostEnvironment(Environment):
    """A `gymnasium.vector.VectorEnv` that looks the same in every autoreset mode.

    - NEXT_STEP: the final observation comes with the end, and the next call of `step`
      ignores the action and resets; that row has `valid=False`.
    - SAME_STEP: the reset happens at once; the final observation is in `infos`.
    - DISABLED: nothing resets by itself; `step` resets the rows that ended.

    A vector environment whose copies can be stepped while a policy acts for others has
    equal slices of its copies in `parts`, and `step_async(actions, part)` and
    `step_wait(part)`, which begin and end a step of one, as `EnvPoolVectorEnv`.

    Reference: https://farama.org/Vector-Autoreset-Mode.

    Args:
        vector_env: The environments. `metadata["autoreset_mode"]` says their mode.
        seed: Seed of the first reset. Defaults to `None`: a trainer's, else Gymnasium's
            own choice.
        max_episode_steps: The time limit that the environments keep, where none is
            found; see `kpg.limits`. Defaults to `None`.

    Attributes:
        parts: Slices of the copies that are stepped separately; by default one of all.
        calls: How often it was reset or stepped, by whomever: what has been collected
            goes on only while this number is as it was.

    Raises:
        ValueError: If the autoreset mode is unknown, a space is not supported, or the
            time limit is another one.
    """

    def __init__(
        self,
        vector_env: VectorEnv[Any, Any, Any],
        seed: int | None = None,
        max_episode_steps: int | None = None,
    ) -> None:
        self.vector_env = vector_env
        self.autoreset_mode = mode_of(vector_env)
        self.num_envs = vector_env.num_envs
        has_parts = hasattr(vector_env, "parts")  # Gymnasium's own class has none
        self._parted = cast(_Parted, vector_env) if has_parts else None
        self.parts = self._parted.parts if self._parted else (slice(0, self.num_envs),)
        self.seed = checks.seed(seed)
        # EnvPool's own environments have a `spec` of another kind.
        spec = vector_env.spec
        self.spec = spec if isinstance(spec, EnvSpec) else None
        self.observation_space = vector_env.single_observation_space
        self.action_space = vector_env.single_action_space
        spaces.check(self.observation_space, "observation")
        spaces.check(self.action_space, "action")
        paths = [path for path, _ in spaces.leaves(self.observation_space)]
        indices = ("".join(f"[{key!r}]" for key in path) for path in paths)
        self._names = [f"observations{index}" for index in indices]
        self._first_seed = self.seed
        self._ended = np.zeros(vector_env.num_envs, bool)
        self._begun = False
        self.calls = 0
        self._max_episode_steps = _checked_limit(vector_env, max_episode_steps)
        self._sent: Nest = None
        self._closed = False

    @property
    @override
    def max_episode_steps(self) -> int | None:
        return self._max_episode_steps

    def reset(self, seed: int | None = None) -> Nest:
        """Starts a new episode in every copy; returns observations `[B, ...]`.

        The seed defaults to that of the constructor the first time, then to none.
        """
        seed = self._first_seed if seed is None else checks.seed(seed)
        self._first_seed = None
        self.calls += 1
        observations, _ = self.vector_env.reset(seed=seed)
        self._ended[:] = False
        self._begun = True
        return self._encode(observations)

    def step(self, actions: Nest) -> HostStep:
        """Steps every copy, and resets those whose episode has ended.

        `actions` `[B, ...]` are in a dictionary or tuple for a `Dict` or `Tuple` space.

        Raises:
            ValueError: If `reset` was never called, the number or structure of the
                actions is wrong, or an observation or reward is not finite.
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

    def send(self, actions: Nest, part: int = 0) -> None:
        """Begins a step of the copies `parts[part]`; see `step`. `receive` ends it."""
        rows = self.parts[part]
        self._begin(self._batch(actions, rows.stop - rows.start), part)

    def receive(self, part: int = 0) -> HostStep:
        """Ends a step that `send` began, and resets the copies whose episode ended."""
        rows = self.parts[part]
        if self._parted is None:
            result = self.vector_env.step(self._sent)
        else:
            result = self._parted.step_wait(part)
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
        scored = ~getattr(self.vector_env, "unscored", np.zeros(self.num_envs, bool))
        return HostStep(
            observations,
            next_observations,
            rewards,
            terminated,
            truncated,
            valid,
            scored[rows],
        )

    def _begin(self, batch: Nest, part: int) -> None:
        self.calls += 1
        if self._parted is None:
            self._sent = batch
        else:
            self._parted.step_async(batch, part)

    @override
    def measured(self) -> dict[str, float]:
        return dict(getattr(self.vector_env, "measured", dict)())

    @override
    def partner(self) -> Partner | None:
        partner: Partner | None = getattr(self.vector_env, "partner", lambda: None)()
        return partner

    @override
    def close(self) -> None:
        if not self._closed:
            self.vector_env.close()
        self._closed = True

    def _reset_rows(
        self, observations: Nest, ended: Array, infos: Infos, part: slice
    ) -> tuple[Nest, Nest]:
        """Returns the true next observations and those to act on after the resets."""
        if self.autoreset_mode is AutoresetMode.DISABLED:
            mask = np.zeros(self.num_envs, bool)
            mask[part] = ended
            fresh, _ = self.vector_env.reset(options={"reset_mask": mask})
            fresh = self._encode(fresh)
            if len(self.parts) > 1:
                fresh = tf.nest.map_structure(operator.itemgetter(part), fresh)
            return observations, fresh
        if (finals := infos.get("final_obs")) is None:
            raise ValueError(
                "A vector environment with SAME_STEP autoreset must give `infos"
                f'["final_obs"]` when an episode ends. Received: {sorted(infos)}'
            )
        rows, space = np.flatnonzero(ended), self.observation_space
        empty: Any = create_empty_array(space, len(rows), np.empty)
        batch = self._encode(concatenate(space, [finals[row] for row in rows], empty))
        return replaced(observations, rows, batch), observations

    def _encode(self, observations: Nest, first: int = 0) -> Nest:
        """Copies a batch: some environments write the next one into the same array."""
        encoded = spaces.encode(self.observation_space, observations)
        plain = isinstance(encoded, np.ndarray)
        leaves = [encoded] if plain else tf.nest.flatten(encoded)
        for name, leaf in zip(self._names, leaves, strict=True):
            self._check_finite(leaf, name, first)
        return encoded

    def _batch(self, actions: Nest, count: int) -> Nest:
        if not self._begun:
            raise ValueError("Call `reset` before `step`. Received: no reset so far.")
        return self._shaped(self.action_space, actions, count)

    def _shaped(self, space: Space, actions: Nest, count: int) -> Nest:
        """Gives actions the structure and dtypes of the space, which many check."""
        if space.shape is not None:
            values = np.asarray(actions, space.dtype)
            wanted = (count, *space.shape)
            if values.shape == wanted:
                return values
            raise ValueError(
                f"`actions` must have the shape {wanted}, one {space} for each of the "
                f"{count} environments. Received: shape {values.shape}"
            )
        if isinstance(space, gym.spaces.Dict) and isinstance(actions, Mapping):
            if {*actions} == {*space}:
                return {k: self._shaped(space[k], actions[k], count) for k in space}
        elif isinstance(space, gym.spaces.Tuple) and isinstance(actions, (tuple, list)):
            if len(actions) == len(space.spaces):
                parts = zip(space.spaces, actions, strict=True)
                return tuple(self._shaped(part, rows, count) for part, rows in parts)
        keys = sorted(actions) if isinstance(actions, Mapping) else type(actions)
        raise ValueError(
            f"`actions` must be a nest of batches like {self.action_space}. Received: "
            f"{keys}"
        )

    def _check_finite(self, values: Array, name: str, first: int = 0) -> None:
        """Refuses inf and nan: they would turn every weight into nan."""
        if values.dtype.kind != "f" or np.isfinite(values).all():
            return
        finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
        env_id = "The environment" if self.spec is None else self.spec.id
        raise ValueError(
            f"{env_id} gave {name} that are not finite; correct it or wrap it. "
            "Received: inf or nan in rows "
            f"{(first + np.flatnonzero(~finite)[:8]).tolist()} of {self.num_envs}"
        )


def _checked_limit(env: VectorEnv[Any, Any, Any], said: int | None) -> int | None:
    found = time_limit(env)
    if said is None:
        return found
    if found is not None and found != said:
        wanted = f"must be that of the environment, {found}; omit it"
        checks.refuse("max_episode_steps", wanted, said)
    return checks.whole_number("max_episode_steps", said)


def joined(parts: Sequence[Nest]) -> Nest:
    """Concatenates the nests `[N, ...]` of several parts."""
    if len(parts) == 1:
        return parts[0]
    return tf.nest.map_structure(lambda *leaves: np.concatenate(leaves), *parts)


def replaced(batch: Nest, rows: Array, fresh: Nest) -> Nest:
    """Returns a copy of a batch with other values in some rows."""

    def replace(leaf: Array, values: Array) -> Array:
        leaf = leaf.copy()
        leaf[rows] = values
        return leaf

    return tf.nest.map_structure(replace, batch, fresh)


def mode_of(vector_env: VectorEnv[Any, Any, Any]) -> AutoresetMode:
    """Reads the autoreset mode; EnvPool and older packages write it as a string."""
    mode = vector_env.metadata.get("autoreset_mode")
    for known in AutoresetMode:
        if mode in (known, known.value, known.name):
            return known
    raise ValueError(
        '`metadata["autoreset_mode"]` of a vector environment must be one of '
        f"{[str(known) for known in AutoresetMode]}: without it a final observation "
        f"cannot be told from that of a reset. Received: {mode!r}"
    )
