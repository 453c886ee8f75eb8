"""Functional environments with one fault each."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf

from kpg.environments import FunctionalEnv, Rng


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
