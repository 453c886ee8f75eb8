"""One copy of an environment to examine, whatever it is made of."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array, iterate
from typing_extensions import override

from kpg.environments.construction import as_environment, make
from kpg.environments.environment import Environment
from kpg.environments.graph.functional import GraphEnvironment, Rng, is_functional
from kpg.environments.host.vector import HostEnvironment, mode_of
from kpg.graph.compiling import traceable
from kpg.testing import functions
from kpg.testing.finding import Finding
from kpg.types import Factory, Nest, Space, Tensor


@dataclasses.dataclass(frozen=True)
class Registered:
    """Makes single copies of an id of Gymnasium's, and vectors as a trainer has them.

    Gymnasium's own checker is left out: it would stop at what is to be explained.
    """

    id: str

    def __call__(self) -> gym.Env[Any, Any]:
        """Makes one copy."""
        return gym.make(self.id, disable_env_checker=True)


class Subject(ABC):
    """A single environment, unchecked; `factory`, if any, makes more copies."""

    observation_space: Space
    action_space: Space
    max_episode_steps: int | None
    keeps_observations = True  # whether what was returned belongs to the caller
    factory: Factory | None = None
    candidate: object  # what `as_environment` takes

    @abstractmethod
    def reset(self, seed: int) -> object:
        """Starts an episode; returns what `gymnasium.Env.reset` would."""

    @abstractmethod
    def step(self, action: Nest) -> object:
        """Takes a step; returns what `gymnasium.Env.step` would."""

    def findings(self) -> Iterable[Finding]:
        """Yields what only an environment of this kind can get wrong."""
        return ()

    def environment(self, num_envs: int) -> Environment:
        """Returns the environment for a trainer."""
        if isinstance(self.factory, Registered):
            return make(self.factory.id, num_envs, seed=0)
        if self.factory is not None:
            return as_environment(self.factory, num_envs, seed=0)
        return as_environment(self.candidate, seed=0)

    def close(self) -> None:
        """Closes what was made for the examination, and nothing else."""
        close = getattr(self.candidate, "close", None)
        if self.factory is not None and close is not None:
            close()


class EnvSubject(Subject):
    """A `gymnasium.Env`."""

    keeps_observations = False

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        self.candidate = self.env = env
        self.observation_space = env.observation_space
        self.action_space = env.action_space
        limit: int | None = getattr(env.spec, "max_episode_steps", None)
        while limit is None and isinstance(env, gym.Wrapper):
            limit = getattr(env, "_max_episode_steps", None)
            env = env.env
        self.max_episode_steps = limit

    @override
    def reset(self, seed: int) -> object:
        return self.env.reset(seed=seed)

    @override
    def step(self, action: Nest) -> object:
        return self.env.step(action)


class VectorSubject(Subject):
    """The first copy of a vector environment; all copies get the same actions."""

    def __init__(
        self, vector_env: VectorEnv[Any, Any, Any], limit: int | None = None
    ) -> None:
        self.candidate = self.vector_env = vector_env
        self.observation_space = vector_env.single_observation_space
        self.action_space = vector_env.single_action_space
        spec_limit = getattr(vector_env.spec, "max_episode_steps", None)
        self.max_episode_steps = spec_limit if limit is None else limit

    @override
    def findings(self) -> Iterable[Finding]:
        try:
            HostEnvironment(self.vector_env)
        except ValueError as error:
            yield Finding("unknown_autoreset", str(error))

    @override
    def reset(self, seed: int) -> object:
        result = self.vector_env.reset(seed=seed)
        if not isinstance(result, tuple) or len(result) != 2:
            return result
        return self._first(result[0]), _first_info(result[1])

    @override
    def step(self, action: Nest) -> object:
        count, space = self.vector_env.num_envs, self.action_space
        empty: Any = create_empty_array(space, count)
        result = self.vector_env.step(concatenate(space, [action] * count, empty))
        if not isinstance(result, tuple) or len(result) != 5:
            return result
        observations, rewards, terminated, truncated, infos = result
        observation = self._first(observations)
        ended = np.asarray(terminated, bool) | np.asarray(truncated, bool)
        if ended[0] and "final_obs" in infos:
            observation = infos["final_obs"][0]
        elif ended.any() and not ended[0]:
            if mode_of(self.vector_env) is AutoresetMode.DISABLED:
                self.vector_env.reset(options={"reset_mask": ended})
        info = _first_info(infos)
        return observation, rewards[0], bool(terminated[0]), bool(truncated[0]), info

    def _first(self, observations: Nest) -> Nest:
        return next(iter(iterate(self.vector_env.observation_space, observations)))


class GraphSubject(Subject):
    """An in-graph environment with a single row."""

    def __init__(self, env: GraphEnvironment) -> None:
        self.candidate = self.env = env
        self.observation_space = env.observation_space
        self.action_space = env.action_space
        self.max_episode_steps = env.max_episode_steps
        self._start = traceable(self._initial)
        self._step = traceable(self._transition)
        self._states: Nest = None
        self._seed, self._length = 0, 0

    @override
    def findings(self) -> Iterable[Finding]:
        return functions.findings(self.env)

    @override
    def reset(self, seed: int) -> object:
        self._seed, self._length = seed, 0
        self._states, observations = self._start(tf.constant([seed, 0], tf.int32))
        return _row(observations), {}

    @override
    def step(self, action: Nest) -> object:
        self._length += 1
        key = tf.constant([self._seed, self._length], tf.int32)
        actions = tf.nest.map_structure(lambda part: np.asarray(part)[None], action)
        self._states, *rest = self._step(self._states, actions, key)
        observation, reward, terminated = (_row(part) for part in rest)
        limit = self.max_episode_steps
        truncated = limit is not None and self._length >= limit and not terminated
        return observation, reward, terminated, truncated, {}

    @override
    def environment(self, num_envs: int) -> Environment:
        if self.factory is None:
            return self.env
        limit = self.max_episode_steps
        return GraphEnvironment(self.env.func_env, num_envs, 0, self.env.spec, limit)

    def _initial(self, key: Tensor) -> Nest:
        states = self.env.initial(Rng(key, 1))
        return states, self.env.observation(states)

    def _transition(self, states: Nest, actions: Nest, key: Tensor) -> Nest:
        after = self.env.transition(states, actions, Rng(key, 1))
        reward = self.env.reward(states, actions, after)
        return after, self.env.observation(after), reward, self.env.terminal(after)


def subject_of(candidate: object) -> Subject:
    """Returns the subject for what `as_environment` takes, or raises a `ValueError`."""
    if isinstance(candidate, HostEnvironment):
        return VectorSubject(candidate.vector_env, candidate.max_episode_steps)
    if isinstance(candidate, GraphEnvironment):
        return GraphSubject(candidate)
    if isinstance(candidate, VectorEnv):
        return VectorSubject(candidate)
    if isinstance(candidate, gym.Env):
        return EnvSubject(candidate)
    if isinstance(candidate, Environment):
        raise ValueError(
            "Only an environment that shows observations and takes actions can be "
            f"played at random. Received: {candidate!r}"
        )
    functional = not isinstance(candidate, type) and is_functional(candidate)
    if functional or not callable(candidate):
        subject = subject_of(as_environment(candidate))
        subject.factory = lambda: candidate
        return subject
    made = candidate()
    if callable(made) and not isinstance(made, (gym.Env, VectorEnv)):
        made = as_environment(lambda: made)  # refuses anything else
    subject = subject_of(made)
    subject.factory = candidate
    return subject


def _row(nest: Nest) -> Nest:
    return tf.nest.map_structure(lambda rows: rows.numpy()[0], nest)


def _first_info(infos: object) -> object:
    """Keeps the first copy's mask, the one thing of an info that is looked at."""
    if not isinstance(infos, Mapping) or "action_mask" not in infos:
        return infos
    return {"action_mask": tf.nest.map_structure(lambda m: m[0], infos["action_mask"])}
