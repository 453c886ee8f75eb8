"""Environments made of pure functions of tensors, stepped inside the graph."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import gymnasium
import numpy as np
import tensorflow as tf
from gymnasium.envs.registration import EnvSpec
from gymnasium.experimental.functional import FuncEnv
from typing_extensions import override

from kpg import checks, contracts, spaces
from kpg.environments.environment import Environment
from kpg.graph import random
from kpg.types import Nest, Space, Tensor

if TYPE_CHECKING:
    # Gymnasium's methods declare every argument; ours may leave some out.
    _Base = object
else:
    _Base = FuncEnv

# What each method may take, by position; the last two may be left out.
_ARGUMENTS = {
    "initial": ("rng", "params"),
    "transition": ("state", "action", "rng", "params"),
    "observation": ("state", "rng", "params"),
    "reward": ("state", "action", "next_state", "rng", "params"),
    "terminal": ("state", "rng", "params"),
}
# Odd, so that every draw gets its own key; 2³² over the golden ratio, and the like.
_STREAMS = (0x9E3779B9, 0x85EBCA6B)


class Rng:
    """Stateless random numbers for a batch, under the names of NumPy's `Generator`.

    Each call draws from a stream of its own, which the seed, `[2]` int32, and the
    number of earlier calls determine, in and outside of a graph.
    """

    def __init__(self, seed: Tensor, batch_size: int) -> None:
        self.seed = tf.convert_to_tensor(seed, tf.int32)
        self.batch_size = batch_size
        self._calls = 0
        if self.seed.shape.as_list() != [2]:
            raise ValueError(f"A seed must have the shape [2]. Received: {seed}")

    def uniform(
        self, low: float = 0.0, high: float = 1.0, size: tuple[int, ...] = ()
    ) -> Tensor:
        """Returns `[B, *size]` float32 numbers, uniform in [low, high)."""
        return random.uniform([self.batch_size, *size], self._next_seed(), low, high)

    def normal(
        self, loc: float = 0.0, scale: float = 1.0, size: tuple[int, ...] = ()
    ) -> Tensor:
        """Returns `[B, *size]` float32 numbers, normal with std `scale`."""
        return random.normal([self.batch_size, *size], self._next_seed(), loc, scale)

    def integers(self, low: int, high: int, size: tuple[int, ...] = ()) -> Tensor:
        """Returns `[B, *size]` int32 numbers, uniform in low … high − 1."""
        return random.integers([self.batch_size, *size], self._next_seed(), low, high)

    def _next_seed(self) -> Tensor:
        """Returns the key of the next stream.

        The generators are counter-based, so `xor` does for keys, without the draw that
        `stateless_fold_in` spends.
        """
        key = [(self._calls * stream) & 0xFFFFFFFF for stream in _STREAMS]
        self._calls += 1
        if not any(key):
            return self.seed
        signed = [word - (word >> 31 << 32) for word in key]
        return tf.bitwise.bitwise_xor(self.seed, tf.constant(signed, tf.int32))


class FunctionalEnv(_Base):
    """Base class of environments in TensorFlow.

    The contract is Gymnasium's `gymnasium.experimental.functional.FuncEnv`, but states,
    actions and observations have a leading batch axis `[B, ...]` and `rng` is an `Rng`.
    The trainer adds resets and the time limit, `max_episode_steps` (default `None`). A
    subclass sets `observation_space` and `action_space`, of one row, and defines five
    methods of TensorFlow operations, which take what they use, by position:

    - `initial(rng)` returns B states to start from, a nest of `[B, ...]`.
    - `transition(state, action, rng)` returns the states that follow.
    - `observation(state, rng)` returns the observations, a nest of `[B, ...]`.
    - `reward(state, action, next_state, rng)` returns the rewards `[B]`.
    - `terminal(state, rng)` returns `[B]` bool, whether each state ends its episode.

    All but `initial` may leave out `rng`. As in Gymnasium, `params` may follow it: what
    `get_default_params` returns. A misspelt method raises a `TypeError`.
    """

    observation_space: Space
    action_space: Space
    max_episode_steps: int | None = None
    default_params: object

    initial: Callable[..., Nest]
    transition: Callable[..., Nest]
    observation: Callable[..., Nest]
    reward: Callable[..., Tensor]
    terminal: Callable[..., Tensor]

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        contracts.check_names(cls, FuncEnv)


class GraphEnvironment(Environment):
    """A functional environment with a batch size, a seed and a time limit.

    Its methods are pure functions for use inside a graph, whose batch size is that of
    the states and of the `rng`; `num_envs` is how many copies a trainer steps.

    Args:
        func_env: An object with the methods and spaces of `FunctionalEnv`.
        num_envs: Number of copies to step. Defaults to 1.
        seed: What the randomness starts from. Defaults to `None`: the trainer's.
        spec: Gymnasium's `EnvSpec`. Defaults to the `spec` of `func_env`, if any.
        max_episode_steps: Time limit, ≥ 1. Defaults to that of `spec` or `func_env`.

    Raises:
        ValueError: If a method or space is missing or wrong, or a number is too small.
    """

    def __init__(
        self,
        func_env: object,
        num_envs: int = 1,
        seed: int | None = None,
        spec: EnvSpec | None = None,
        max_episode_steps: int | None = None,
    ) -> None:
        missing = missing_methods(func_env)
        for name in ("observation_space", "action_space"):
            if not isinstance(getattr(func_env, name, None), gymnasium.Space):
                missing.append(name)
        if missing:
            raise ValueError(
                f"A functional environment must have {' and '.join(missing)}; "
                "`kpg.environments.FunctionalEnv` says what each receives and returns. "
                f"Received: {func_env!r}"
            )
        self.func_env = cast(FunctionalEnv, func_env)
        self.num_envs = checks.whole_number("num_envs", num_envs)
        self.seed = checks.seed(seed)
        self.spec = spec if spec is not None else getattr(func_env, "spec", None)
        self.observation_space = self.func_env.observation_space
        self.action_space = self.func_env.action_space
        self._spaces = spaces.leaves(self.observation_space)
        self._takes = {name: _num_arguments(func_env, name) for name in _ARGUMENTS}
        steps = max_episode_steps
        for source in (self.spec, func_env):
            if steps is None:
                steps = getattr(source, "max_episode_steps", None)
        if steps is not None:
            steps = checks.whole_number("max_episode_steps", steps)
        self._max_episode_steps = steps

    @property
    @override
    def name(self) -> str:
        return self.spec.id if self.spec else type(self.func_env).__name__

    @property
    @override
    def max_episode_steps(self) -> int | None:
        return self._max_episode_steps

    def initial(self, rng: Rng) -> Nest:
        """Returns a batch of states to start episodes from."""
        return self.call("initial", rng)

    def transition(self, states: Nest, actions: Nest, rng: Rng) -> Nest:
        """Returns the states that follow when `actions` `[B, ...]` are taken."""
        return self.call("transition", states, actions, rng)

    def observation(self, states: Nest, rng: Rng | None = None) -> Nest:
        """Returns the observations `[B, ...]` of the states."""
        observations = self.call("observation", states, rng)
        pairs = zip(tf.nest.flatten(observations), self._spaces, strict=False)
        for leaf, (_, space) in pairs:
            floating = tf.is_tensor(leaf) and leaf.dtype.is_floating
            if floating and np.dtype(space.dtype).kind in "iub":
                raise self._broken("observation", f"{np.dtype(space.dtype)}", leaf)
        return observations

    def reward(
        self, states: Nest, actions: Nest, next_states: Nest, rng: Rng | None = None
    ) -> Tensor:
        """Returns the rewards `[B]` float32 of the transitions."""
        rewards = self.call("reward", states, actions, next_states, rng)
        return self._column("reward", tf.cast(rewards, tf.float32))

    def terminal(self, states: Nest, rng: Rng | None = None) -> Tensor:
        """Returns `[B]` bool, whether each state ends its episode."""
        ends = self.call("terminal", states, rng)
        return self._column("terminal", tf.cast(ends, tf.bool))

    def _column(self, method: str, values: Tensor) -> Tensor:
        if values.shape.rank not in (None, 1):
            raise self._broken(method, "[B], one for each copy", values)
        return values

    def _broken(self, method: str, wanted: str, values: Tensor) -> ValueError:
        return ValueError(
            f"`{method}` of {self.name} must return {wanted}; change it or the space. "
            f"Received: {values.dtype.name} {values.shape}"
        )

    @override
    def close(self) -> None:
        """Does nothing: states are tensors."""

    def call(self, name: str, *given: Nest) -> Nest:
        """Calls a method of `func_env` with those of the arguments that it takes."""
        arguments = (*given, getattr(self.func_env, "default_params", None))
        return getattr(self.func_env, name)(*arguments[: self._takes[name]])


def is_functional(candidate: object) -> bool:
    """Returns whether something is meant as a functional environment, or its class."""
    kind = candidate if isinstance(candidate, type) else candidate.__class__
    return issubclass(kind, FuncEnv) or not missing_methods(candidate)


def missing_methods(candidate: object) -> list[str]:
    """Returns the methods that a functional environment, or a class of one, lacks."""

    def defined(name: str) -> bool:
        method = getattr(candidate, name, None)
        inherited = getattr(method, "__func__", method) is getattr(FuncEnv, name)
        return callable(method) and not inherited

    return [name for name in _ARGUMENTS if not defined(name)]


def _num_arguments(func_env: object, name: str) -> int:
    wanted = _ARGUMENTS[name]
    least = max(1, len(wanted) - 2)
    has_params = getattr(func_env, "default_params", None) is not None
    try:
        signature = inspect.signature(getattr(func_env, name))
    except (TypeError, ValueError):  # some callables have none
        return len(wanted) - (not has_params)
    parameters = list(signature.parameters.values())
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return len(wanted) - (not has_params)
    positional = [p for p in parameters if p.kind <= p.POSITIONAL_OR_KEYWORD]
    taken = 0
    for parameter, argument in zip(positional, wanted, strict=False):
        # What has a default of its own keeps it, unless its name asks for the argument.
        asks = parameter.name == argument and (has_params or argument != "params")
        if parameter.default is not parameter.empty and taken >= least and not asks:
            break
        taken += 1
    misplaced = any(
        p.name in wanted and wanted.index(p.name) != index
        for index, p in enumerate(positional)
    )
    rest = [p for p in parameters if p not in positional[:taken]]
    unmet = any(p.default is p.empty and p.kind < p.VAR_KEYWORD for p in rest)
    if misplaced or unmet or taken < least:
        raise ValueError(
            f"`{name}` must take ({', '.join(wanted[:least])}) by position and may "
            f"take {' and '.join(wanted[least:])} after that. Received: "
            f"{name}{signature}"
        )
    return taken
