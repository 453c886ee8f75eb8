"""The check of an environment passes what is right and names what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.environments import FunctionalEnv, Rng
from kpg.testing import Maze, Probe, check_environment


class Drift(FunctionalEnv):
    """A point that is pushed and blown about."""

    observation_space = gym.spaces.Box(-20.0, 20.0, (1,))
    action_space: gym.Space[Any] = gym.spaces.Discrete(2)
    max_episode_steps = 40

    def initial(self, rng: Rng) -> Any:
        return rng.uniform(-1.0, 1.0, (1,))

    def transition(self, state: Any, action: Any, rng: Rng) -> Any:
        push = 0.2 * (2.0 * tf.cast(action, tf.float32) - 1.0)
        return state + push[:, None] + 0.01 * rng.normal(size=(1,))

    def observation(self, state: Any) -> Any:
        return state

    def reward(self, state: Any, action: Any, next_state: Any) -> Any:
        return -tf.abs(next_state[:, 0])

    def terminal(self, state: Any) -> Any:
        return tf.abs(state[:, 0]) > 3.0


class RewardColumn(Drift):
    def reward(self, state: Any, action: Any, next_state: Any) -> Any:
        return -tf.abs(next_state)


class RewardInDoublePrecision(Drift):
    def reward(self, state: Any, action: Any, next_state: Any) -> Any:
        return tf.cast(super().reward(state, action, next_state), tf.float64)


class RewardNotFinite(Drift):
    def reward(self, state: Any, action: Any, next_state: Any) -> Any:
        return tf.math.log(tf.nn.relu(next_state[:, 0]))


class TerminalAsNumber(Drift):
    def terminal(self, state: Any) -> Any:
        return tf.cast(super().terminal(state), tf.float32)


class TerminalOfTheBatch(Drift):
    def terminal(self, state: Any) -> Any:
        return tf.reduce_any(super().terminal(state))


class OneStateForAll(Drift):
    def initial(self, rng: Rng) -> Any:
        return tf.zeros([1])[0]


class StateThatGrows(Drift):
    def transition(self, state: Any, action: Any, rng: Rng) -> Any:
        return tf.cast(super().transition(state, action, rng), tf.float64)


class StateOfAnotherStructure(Drift):
    def observation(self, state: Any) -> Any:
        return state["place"] if isinstance(state, dict) else state

    def transition(self, state: Any, action: Any, rng: Rng) -> Any:
        return {"place": super().transition(state, action, rng)}

    def reward(self, state: Any, action: Any, next_state: Any) -> Any:
        return -next_state["place"][:, 0]

    def terminal(self, state: Any) -> Any:
        return state["place"][:, 0] > 3.0


class FixedBatch(Drift):
    def terminal(self, state: Any) -> Any:
        return tf.zeros([16], tf.bool)


class OutsideItsSpace(Drift):
    observation_space = gym.spaces.Box(-1.5, 1.5, (1,))


class AnotherShape(Drift):
    def observation(self, state: Any) -> Any:
        return tf.concat([state, state], axis=-1)


class AnotherDtype(Drift):
    def observation(self, state: Any) -> Any:
        return tf.cast(state, tf.float64)


class WholeBox(Drift):
    action_space = gym.spaces.Box(0, 1, (1,), np.int32)


class CountsInPython(Drift):
    """Ends after 20 calls, whatever the state."""

    count = 0

    def terminal(self, state: Any) -> Any:
        self.count += 1
        return super().terminal(state) | (self.count > 20)


class RemembersInPython(Drift):
    last: Any = None

    def transition(self, state: Any, action: Any, rng: Rng) -> Any:
        following = super().transition(state, action, rng)
        before = state if self.last is None else self.last
        self.last = following
        return following + 0.1 * tf.stop_gradient(before)


class TracedConstant(Drift):
    """In a graph Python's number is a constant; called directly it is the state's."""

    def reward(self, state: Any, action: Any, next_state: Any) -> Any:
        eager = tf.executing_eagerly()
        return super().reward(state, action, next_state) * (1.0 if eager else 2.0)


class GlobalRandomness(Drift):
    def transition(self, state: Any, action: Any, rng: Rng) -> Any:
        return state + tf.random.uniform(tf.shape(state), -0.5, 0.5)


class IgnoresTheSeed(Drift):
    def initial(self, rng: Rng) -> Any:
        return 0.0 * super().initial(rng)

    def transition(self, state: Any, action: Any, rng: Rng) -> Any:
        return super().transition(
            state, action, Rng(tf.constant([0, 1]), state.shape[0])
        )


class MixesRows(Drift):
    def reward(self, state: Any, action: Any, next_state: Any) -> Any:
        rewards = super().reward(state, action, next_state)
        return rewards - tf.reduce_mean(rewards)


class OutsideTheGraph(Drift):
    def reward(self, state: Any, action: Any, next_state: Any) -> Any:
        return tf.constant(-np.abs(next_state.numpy()[:, 0]))


MUTANTS: list[tuple[type[Drift], str]] = [
    (RewardColumn, r"`reward` must return a float32 tensor of shape \[B\].*\[3, 1\]"),
    (RewardInDoublePrecision, r"`reward` must return a float32.*float64\[3\]"),
    (RewardNotFinite, "reward was -inf"),
    (TerminalAsNumber, r"`terminal` must return a bool.*float32\[3\]"),
    (TerminalOfTheBatch, r"`terminal` must return a bool.*bool\[\]"),
    (OneStateForAll, r"`initial` must return tensors of shape \[B, ...\]"),
    (StateThatGrows, r"`transition` must.*float32\[3, 1\] became float64\[3, 1\]"),
    (StateOfAnotherStructure, "`transition` must.*became {'place': "),
    (FixedBatch, r"`terminal` must.*bool\[16\]"),
    (OutsideItsSpace, "lies outside Box"),
    (AnotherShape, r"shape \(2,\), but its space says \(1,\)"),
    (AnotherDtype, "observation is float64"),
    (WholeBox, "floats in each Box"),
    (CountsInPython, "keep nothing in attributes between calls"),
    (RemembersInPython, "keep nothing in attributes between calls"),
    (TracedConstant, "Compiled, the environment does something else"),
    (GlobalRandomness, "random numbers only from `rng`"),
    (IgnoresTheSeed, "Four seeds gave the same episode"),
    (MixesRows, "Each row is an environment of its own"),
    (OutsideTheGraph, "made of TensorFlow operations"),
]


@pytest.mark.parametrize(("mutant", "words"), MUTANTS)
def test_a_functional_environment_that_is_wrong_is_told_why(
    mutant: type[Drift], words: str
) -> None:
    with pytest.raises(AssertionError, match=words):
        check_environment(mutant())


@pytest.mark.parametrize(
    "env",
    [
        Drift,
        kpg.environments.CartPole(),
        lambda: Maze(["S..", "S#G"], slip=0.2),
        Probe("memory", {"a": "text", "b": "image"}, ("discrete", "box"), masked=True),
        lambda: gym.make("CartPole-v1"),
        gym.vector.SyncVectorEnv([lambda: gym.make("MountainCar-v0")] * 2),
    ],
)
def test_what_keeps_its_contract_passes(env: Any) -> None:
    check_environment(env)


def test_made_environments_and_ids_pass() -> None:
    check_environment(kpg.make("Pendulum-v1", num_envs=3))
    check_environment(kpg.make("FrozenLake-v1", num_envs=3))


def test_what_is_never_random_must_say_so() -> None:
    with pytest.raises(AssertionError, match="random=False"):
        check_environment(Probe("value"))
    check_environment(Probe("value"), random=False)
    check_environment(kpg.make("CliffWalking-v1"), random=False)


# On the host.


class Walk(gym.Env[Any, Any]):
    """A walk on a line that ends at either side."""

    observation_space = gym.spaces.Box(-2.0, 2.0, (1,))
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.place = self.start()
        return self.observation(), {}

    def step(self, action: Any) -> Any:
        self.place += 0.2 * float(action) - 0.1
        ended = abs(self.place) > 0.8
        return self.observation(), -abs(self.place), ended, False, {}

    def start(self) -> float:
        return self.np_random.uniform(-0.5, 0.5)

    def observation(self) -> Any:
        return np.array([self.place], np.float32)


class ColumnWalk(Walk):
    def observation(self) -> Any:
        return super().observation()[None]


class UnseededWalk(Walk):
    def start(self) -> float:
        return np.random.default_rng().uniform(-0.5, 0.5)


class FixedWalk(Walk):
    def start(self) -> float:
        return 0.25


class FourThings(Walk):
    def step(self, action: Any) -> Any:
        observation, reward, ended, _, info = super().step(action)
        return observation, reward, ended, info


class Broken(Walk):
    def step(self, action: Any) -> Any:
        raise RuntimeError("no floor")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (ColumnWalk, "Change one of them"),
        (UnseededWalk, "The same seed and the same actions gave another episode"),
        (FixedWalk, "Four seeds gave the same episode"),
        (FourThings, "`step` must return five things"),
        (Broken, "RuntimeError: no floor"),
    ],
)
def test_an_environment_of_the_host_that_is_wrong_is_told_why(
    make: Callable[[], Any], words: str
) -> None:
    check_environment(Walk)
    with pytest.raises(AssertionError, match=words):
        check_environment(make())


@pytest.mark.parametrize("wrong", [3, "CartPole-v1", lambda: 3])
def test_what_is_no_environment_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="Received"):
        check_environment(wrong)
