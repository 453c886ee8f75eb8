"""Whole episodes without learning, inside the graph or on the host."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import tensorflow as tf
from typing_extensions import override

from kpg.environments.environment import Environment
from kpg.environments.graph.functional import GraphEnvironment, Rng
from kpg.environments.host.vector import HostEnvironment
from kpg.graph import random
from kpg.graph.compiling import compiled
from kpg.models.policy import Policy
from kpg.trainers.acting.actor import Actor
from kpg.trainers.acting.graph import act, select, time_is_up
from kpg.trajectories import zero_where
from kpg.types import Array, Nest, Tensor


class Evaluator(ABC):
    """Plays a fixed number of episodes, each copy of the environment its share."""

    def __init__(
        self,
        env: Environment,
        policy: Policy,
        episodes: int,
        deterministic: bool,
        jit_compile: bool,
    ) -> None:
        self.env = env
        self.policy = policy
        self.episodes = episodes
        self.deterministic = deterministic
        self.quotas = np.full(env.num_envs, episodes // env.num_envs)
        self.quotas[: episodes % env.num_envs] += 1
        self.build(jit_compile)

    @abstractmethod
    def build(self, jit_compile: bool) -> None:
        """Builds what acts."""

    @abstractmethod
    def play(self, seed: int) -> tuple[Array, Array]:
        """Returns the returns and lengths of the episodes, `[episodes]` each."""

    def run(self, seed: int) -> dict[str, Any]:
        """Plays the episodes; see `Trainer.evaluate`."""
        self.env.measured()  # what training measured is not this evaluation's
        returns, lengths = self.play(seed)
        return {
            **self.env.measured(),
            "return": float(np.mean(returns)),
            "return_std": float(np.std(returns)),
            "length": float(np.mean(lengths)),
            "episodes": len(returns),
            "returns": returns,
        }

    def act(self, observations: Nest, state: Nest, seed: Tensor) -> tuple[Nest, Nest]:
        """Returns the environment's actions and a recurrent policy's new state."""
        acted = act(self.policy, observations, state, seed, self.deterministic)
        return acted.taken, acted.state


class GraphEvaluator(Evaluator):
    """Plays all episodes in one compiled call."""

    env: GraphEnvironment

    @override
    def build(self, jit_compile: bool) -> None:
        self._play = compiled(self._played, jit_compile)

    @override
    def play(self, seed: int) -> tuple[Array, Array]:
        returns, lengths = self._play(tf.constant([seed & 0x7FFFFFFF, 0], tf.int32))
        played = np.arange(len(returns))[:, np.newaxis] < self.quotas
        return returns.numpy()[played], lengths.numpy()[played]

    def _played(self, seed: Tensor) -> tuple[Tensor, Tensor]:
        """Returns `[quota, B]` returns and lengths; zeros beyond a copy's quota."""
        env, size, rounds = self.env, self.env.num_envs, int(self.quotas.max())
        quotas = tf.constant(self.quotas, tf.int32)

        def body(
            step: Tensor,
            states: Nest,
            memory: Nest,
            counts: Tensor,
            lengths: Tensor,
            returns: Tensor,
            table: tuple[Tensor, Tensor],
        ) -> tuple[Nest, ...]:
            seeds = random.seeds([3], seed + tf.stack([0, step + 1]))
            actions, memory = self.act(env.observation(states), memory, seeds[0])
            following = env.transition(states, actions, Rng(seeds[1], size))
            lengths += 1
            returns += env.reward(states, actions, following)
            ended = env.terminal(following) | time_is_up(env, lengths)
            row = tf.one_hot(counts, rounds, axis=0) * tf.cast(ended, tf.float32)
            passed = (returns, tf.cast(lengths, tf.float32))
            table = tuple(t + row * v for t, v in zip(table, passed, strict=True))
            counts += tf.cast(ended, tf.int32)
            states = select(ended, env.initial(Rng(seeds[2], size)), following)
            lengths = tf.where(ended, 0, lengths)
            return (
                step + 1,
                states,
                zero_where(ended, memory),
                counts,
                lengths,
                tf.where(ended, 0.0, returns),
                table,
            )

        limit = env.max_episode_steps
        zeros = tf.zeros([rounds, size])
        *_, (returns, lengths) = tf.while_loop(
            lambda step, states, memory, counts, *_: tf.reduce_any(counts < quotas),
            body,
            (
                tf.constant(0),
                env.initial(Rng(seed, size)),
                self.policy.initial_state(size),
                tf.zeros([size], tf.int32),
                tf.zeros([size], tf.int32),
                tf.zeros([size]),
                (zeros, zeros),
            ),
            maximum_iterations=None if limit is None else limit * rounds,
        )
        return returns, lengths


class HostEvaluator(Evaluator):
    """Plays episodes of a Gymnasium environment."""

    env: HostEnvironment

    @override
    def build(self, jit_compile: bool) -> None:
        self._actor = Actor(self.env, self.policy, self.act)  # without XLA; see there

    @override
    def play(self, seed: int) -> tuple[Array, Array]:
        size = self.env.num_envs
        observations = self.env.reset(seed=seed)
        self._actor.restart()
        counts = np.zeros(size, int)
        lengths, returns = np.zeros(size), np.zeros(size)
        played: tuple[list[float], list[float]] = ([], [])
        step = 0
        while (counts < self.quotas).any():
            key = np.array([seed & 0x7FFFFFFF, step], np.int32)
            (actions,) = self._actor(observations, key)
            result = self.env.step(actions)
            observations = result.observations
            lengths += result.valid
            returns += np.where(result.valid, result.rewards, 0.0)
            ended = result.terminated | result.truncated
            self._actor.forget(ended | ~result.valid)
            for index in np.flatnonzero(ended):
                if counts[index] < self.quotas[index]:
                    played[0].append(returns[index])
                    played[1].append(lengths[index])
                counts[index] += 1
                lengths[index] = returns[index] = 0
            step += 1
        return np.array(played[0]), np.array(played[1])
