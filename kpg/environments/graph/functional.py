"""Environments made of pure functions of tensors, stepped inside the graph.

The contract is Gymnasium's `gymnasium.experimental.functional.FuncEnv`, with three
additions: states, actions and observations have a leading batch axis `[B, ...]`; every
function is made of TensorFlow operations; and `rng` is an `Rng`, which has the method
names of NumPy's `Generator` and no state. Time limits and resets are not part of such
an environment; whoever steps it adds them.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from gymnasium import Space
from gymnasium.envs.registration import EnvSpec
from gymnasium.experimental.functional import FuncEnv

from kpg.environments.environment import Environment, checked_num_envs
from kpg.graph import random

_METHODS = ("initial", "transition", "observation", "reward", "terminal")
_SPACES = ("observation_space", "action_space")
# Odd, so that every draw gets its own key; 2³² over the golden ratio, and the like.
_STREAMS = (0x9E3779B9, 0x85EBCA6B)


class Rng:
    """Stateless random numbers for a batch, under the names of NumPy's `Generator`.

    Each call draws from a stream of its own, which the seed and the number of earlier
    calls determine. So the same sequence of calls with the same seed gives the same
    numbers, in and outside of a graph.

    Args:
        seed: `[2]` int32 tensor.
        batch_size: Number of rows B that each call draws.

    Example:
        >>> rng = Rng(tf.constant([0, 1]), batch_size=4)
        >>> rng.uniform(-0.6, -0.4).shape
        TensorShape([4])
    """

    def __init__(self, seed: tf.Tensor, batch_size: int) -> None:
        """See `Rng`."""
        self.seed = tf.convert_to_tensor(seed, tf.int32)
        self.batch_size = batch_size
        self._calls = 0
        if self.seed.shape.as_list() != [2]:
            raise ValueError(
                "A seed must be an integer tensor of shape [2]. Received: "
                f"seed.shape={self.seed.shape}"
            )

    def uniform(
        self, low: float = 0.0, high: float = 1.0, size: tuple[int, ...] = ()
    ) -> tf.Tensor:
        """Returns `[B, *size]` float32 numbers, uniform in [low, high)."""
        return random.uniform([self.batch_size, *size], self._next_seed(), low, high)

    def normal(
        self, loc: float = 0.0, scale: float = 1.0, size: tuple[int, ...] = ()
    ) -> tf.Tensor:
        """Returns `[B, *size]` float32 numbers, normal with std `scale`."""
        return random.normal([self.batch_size, *size], self._next_seed(), loc, scale)

    def integers(self, low: int, high: int, size: tuple[int, ...] = ()) -> tf.Tensor:
        """Returns `[B, *size]` int32 numbers, uniform in low … high − 1."""
        return random.integers([self.batch_size, *size], self._next_seed(), low, high)

    def _next_seed(self) -> tf.Tensor:
        """Returns the key of the next stream.

        The generators behind are counter-based: any two keys give independent streams,
        so one `xor` does what `stateless_fold_in` spends a whole draw on.
        """
        key = [(self._calls * stream) & 0xFFFFFFFF for stream in _STREAMS]
        self._calls += 1
        if not any(key):
            return self.seed
        signed = [word - (word >> 31 << 32) for word in key]
        return tf.bitwise.bitwise_xor(self.seed, tf.constant(signed, tf.int32))


class FunctionalEnv(FuncEnv[Any, Any, Any, Any, Any, Any, Any]):
    """Base class of environments in TensorFlow; see the module for the contract.

    A subclass sets `observation_space` and `action_space` (of one environment) and
    overrides `initial`, `transition`, `observation`, `reward` and `terminal`, with
    Gymnasium's arguments. It may set `max_episode_steps`.

    Attributes:
        max_episode_steps: Number of steps after which an episode is truncated. Defaults
            to `None`, no limit.
    """

    max_episode_steps: int | None = None


class GraphEnvironment(Environment):
    """A functional environment with a batch size, a seed and a time limit.

    Its methods are pure functions for use inside a graph, whose batch size is that of
    the states and of the `rng`; `num_envs` is how many copies a trainer shall step.

    Args:
        func_env: An object with the methods and spaces of `FuncEnv`; see the module.
        num_envs: Number of copies to step. Defaults to 1.
        seed: What the randomness starts from. Defaults to `None`, chosen by the user of
            the environment.
        spec: Gymnasium's `EnvSpec`. Defaults to the `spec` of `func_env`, if any.
        max_episode_steps: Time limit, ≥ 1. Defaults to that of `spec`, then to that of
            `func_env`.

    Raises:
        ValueError: If `func_env` lacks a method or a space, or a number is too small.
    """

    def __init__(
        self,
        func_env: Any,
        num_envs: int = 1,
        seed: int | None = None,
        spec: EnvSpec | None = None,
        max_episode_steps: int | None = None,
    ) -> None:
        """See `GraphEnvironment`."""
        missing = [name for name in _METHODS if not callable(_get(func_env, name))]
        missing += [
            name for name in _SPACES if not isinstance(_get(func_env, name), Space)
        ]
        if missing:
            raise ValueError(
                "A functional environment needs the methods and spaces of "
                f"`gymnasium.experimental.functional.FuncEnv`; {missing} missing. "
                f"Received: {func_env!r}"
            )
        self.func_env = func_env
        self.num_envs = checked_num_envs(num_envs)
        self.seed = seed
        self.spec = spec if spec is not None else _get(func_env, "spec")
        self.observation_space = func_env.observation_space
        self.action_space = func_env.action_space
        self._max_episode_steps = self._limit(max_episode_steps)

    def _limit(self, steps: int | None) -> int | None:
        """Chooses the time limit and checks it."""
        for source in (self.spec, self.func_env):
            steps = steps if steps is not None else _get(source, "max_episode_steps")
        if steps is not None and steps < 1:
            raise ValueError(
                f"`max_episode_steps` must be at least 1. Received: {steps}. Leave it "
                "out for the limit of the environment itself."
            )
        return steps

    @property
    def max_episode_steps(self) -> int | None:
        """Number of steps after which an episode is truncated, if it has a limit."""
        return self._max_episode_steps

    def initial(self, rng: Rng) -> Any:
        """Returns a batch of states to start episodes from."""
        return self.func_env.initial(rng, *self._params())

    def transition(self, states: Any, actions: tf.Tensor, rng: Rng) -> Any:
        """Returns the states that follow when `actions` `[B, ...]` are taken."""
        return self.func_env.transition(states, actions, rng, *self._params())

    def observation(self, states: Any, rng: Rng | None = None) -> Any:
        """Returns the observations `[B, ...]` of the states."""
        return self.func_env.observation(states, rng, *self._params())

    def reward(
        self, states: Any, actions: tf.Tensor, next_states: Any, rng: Rng | None = None
    ) -> tf.Tensor:
        """Returns the rewards `[B]` float32 of the transitions."""
        rewards = self.func_env.reward(
            states, actions, next_states, rng, *self._params()
        )
        return tf.cast(rewards, tf.float32)

    def terminal(self, states: Any, rng: Rng | None = None) -> tf.Tensor:
        """Returns `[B]` bool, whether each state ends its episode."""
        return tf.cast(self.func_env.terminal(states, rng, *self._params()), tf.bool)

    def close(self) -> None:
        """Does nothing: states are tensors."""

    def _params(self) -> tuple[Any, ...]:
        """Arguments to add: an object without parameters need not take any."""
        params = _get(self.func_env, "default_params")
        return () if params is None else (params,)


def is_functional(candidate: Any) -> bool:
    """Whether an object has every method of `FuncEnv`."""
    return all(callable(_get(candidate, name)) for name in _METHODS)


def _get(owner: Any, name: str) -> Any:
    return getattr(owner, name, None)
