"""Whole episodes without learning, inside the graph or on the host."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, cast

import numpy as np
import tensorflow as tf

from kpg.environments.environment import Environment
from kpg.environments.graph.functional import GraphEnvironment, Rng
from kpg.environments.host.vector import HostEnvironment
from kpg.graph import random
from kpg.graph.compiling import compiled
from kpg.language.generation import TextGeneration
from kpg.models import Policy
from kpg.trainers.acting.actor import Actor
from kpg.trainers.acting.graph import select, time_is_up
from kpg.trajectories import zero_where


class Evaluator(ABC):
    """Plays a fixed number of episodes, each copy of the environment its share.

    Args:
        env: The environment.
        policy: The policy that acts.
        episodes: How many episodes to play.
        deterministic: Whether to take the most likely actions.
    """

    def __init__(
        self, env: Environment, policy: Policy, episodes: int, deterministic: bool
    ) -> None:
        self.env = env
        self.policy = policy
        self.deterministic = deterministic
        self.quotas = np.full(env.num_envs, episodes // env.num_envs)
        self.quotas[: episodes % env.num_envs] += 1

    @abstractmethod
    def play(self, seed: int) -> tuple[Any, Any]:
        """Returns the returns and the lengths of the episodes, `[episodes]` each."""

    def run(self, seed: int) -> dict[str, Any]:
        """Plays the episodes; returns what `Trainer.evaluate` promises."""
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

    def act(self, observations: Any, state: Any, seed: tf.Tensor) -> tuple[Any, Any]:
        """Returns the environment's actions for `[B, ...]` observations.

        The second result is the state of a recurrent policy after them.
        """
        family = self.policy.family
        parameters, state = self.policy.step(observations, state)
        if self.deterministic:
            actions = family.mode(parameters)
        else:
            actions = family.sample(parameters, seed)
        return family.to_environment(actions), state


class GraphEvaluator(Evaluator):
    """Plays all episodes in one compiled call."""

    env: GraphEnvironment

    def __init__(
        self,
        env: GraphEnvironment,
        policy: Policy,
        episodes: int,
        deterministic: bool,
        jit_compile: bool,
    ) -> None:
        super().__init__(env, policy, episodes, deterministic)
        self._play = compiled(self._build, jit_compile)

    def play(self, seed: int) -> tuple[Any, Any]:
        """See `Evaluator.play`."""
        returns, lengths = self._play(tf.constant([seed & 0x7FFFFFFF, 0], tf.int32))
        played = np.arange(len(returns))[:, np.newaxis] < self.quotas
        return returns.numpy()[played], lengths.numpy()[played]

    def _build(self, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns `[quota, B]` returns and lengths; zeros beyond a copy's quota."""
        env, size, rounds = self.env, self.env.num_envs, int(self.quotas.max())
        quotas = tf.constant(self.quotas, tf.int32)

        def body(
            step: tf.Tensor,
            states: Any,
            memory: Any,
            counts: tf.Tensor,
            lengths: tf.Tensor,
            returns: tf.Tensor,
            table: Any,
        ) -> Any:
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

    def __init__(
        self, env: HostEnvironment, policy: Policy, episodes: int, deterministic: bool
    ) -> None:
        super().__init__(env, policy, episodes, deterministic)
        self._actor = Actor(env, policy, self.act)

    def play(self, seed: int) -> tuple[Any, Any]:
        """See `Evaluator.play`."""
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


def evaluator_for(
    env: Environment,
    policy: Policy,
    episodes: int,
    deterministic: bool,
    jit_compile: bool,
) -> Evaluator:
    """Returns the evaluator for an environment of any kind."""
    if isinstance(env, GraphEnvironment):
        return GraphEvaluator(env, policy, episodes, deterministic, jit_compile)
    if isinstance(env, HostEnvironment):
        return HostEvaluator(env, policy, episodes, deterministic)
    if isinstance(env, TextGeneration):
        from kpg.trainers.language.evaluation import TextEvaluator

        played = TextEvaluator(env, policy, episodes, deterministic, jit_compile)
        return cast(Evaluator, played)
    raise ValueError(
        "An evaluation runs on environments made by `kpg.make` or "
        f"`kpg.environments.as_environment`. Received: {type(env).__name__}"
    )
