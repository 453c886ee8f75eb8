"""Whole episodes without learning, inside the graph or on the host."""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from typing_extensions import override

from kpg.environments.environment import Environment
from kpg.environments.graph.functional import GraphEnvironment, Rng
from kpg.environments.host.vector import HostEnvironment
from kpg.graph import random
from kpg.graph.compiling import compiled
from kpg.limits import LONGEST_EPISODE
from kpg.models.policy import Policy
from kpg.trainers.acting.actor import Actor
from kpg.trainers.acting.graph import act, select, time_is_up
from kpg.trajectories import zero_where
from kpg.types import Array, Nest, Tensor

# Seconds of a call in the graph, which no signal can stop.
_CALL = 0.1


class Played(NamedTuple):
    """Returns and lengths of episodes, `[episodes]` each, and how many were cut."""

    returns: Array
    lengths: Array
    cut: int


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
    def play(self, seed: int, max_steps: int) -> Played:
        """Plays the episodes, each for at most `max_steps` steps."""

    def run(self, seed: int, max_steps: int | None = None) -> dict[str, Any]:
        """Plays the episodes; see `Trainer.evaluate`."""
        self.env.measured()  # what training measured is not this evaluation's
        bound = max_steps or max(LONGEST_EPISODE, self.env.max_episode_steps or 0)
        returns, lengths, cut = self.play(seed, bound)
        if cut and max_steps is None:
            warnings.warn(
                f"{cut} of {self.episodes} episodes had not ended after {bound:,} "
                "steps and were cut there. Give the environment a time limit "
                "(`max_episode_steps`), or say `max_steps` (in `fit`, "
                "`validation_max_steps`), which also silences this warning.",
                stacklevel=3,
            )
        counted = self.counted(returns)
        if counted.any():
            known, steps = returns[counted], lengths[counted]
        else:
            known = steps = np.array([np.nan])
        return {
            **self.env.measured(),
            "return": float(np.mean(known)),
            "return_std": float(np.std(known)),
            "length": float(np.mean(steps)),
            "episodes": len(returns),
            "cut": cut,
            "returns": returns,
        }

    def counted(self, returns: Array) -> Array:
        """Returns `[episodes]` bool: those with a return; NaN is a text not scored."""
        return ~np.isnan(returns)

    def act(self, observations: Nest, state: Nest, seed: Tensor) -> tuple[Nest, Nest]:
        """Returns the environment's actions and a recurrent policy's new state."""
        acted = act(self.policy, observations, state, seed, self.deterministic)
        return acted.taken, acted.state


class Game(NamedTuple):
    """Episodes in the graph between two calls.

    `counts` are the episodes `[B]` that ended, `lengths` and `returns` `[B]` those of
    the running ones, `table` `[quota, B]` those of the ended ones, with zeros beyond a
    copy's quota, and `cut` a number.
    """

    step: Tensor
    states: Nest
    memory: Nest
    counts: Tensor
    lengths: Tensor
    returns: Tensor
    table: tuple[Tensor, Tensor]
    cut: Tensor


class GraphEvaluator(Evaluator):
    """Plays in compiled calls of many steps each, between which it can be stopped."""

    env: GraphEnvironment

    @override
    def build(self, jit_compile: bool) -> None:
        self._begin = compiled(self._started, jit_compile)
        self._play = compiled(self._continued, jit_compile)
        self._steps = 16

    @override
    def play(self, seed: int, max_steps: int) -> Played:
        key = tf.constant([seed & 0x7FFFFFFF, 0], tf.int32)
        game, last = self._begin(key), 0
        while (game.counts.numpy() < self.quotas).any():
            last, started = last + self._steps, time.perf_counter()
            game = self._play(game, key, tf.constant(last), tf.constant(max_steps))
            if time.perf_counter() - started > _CALL:
                self._steps = max(self._steps // 2, 1)
            elif int(game.step) == last:
                self._steps *= 2
        returns, lengths = game.table
        played = np.arange(len(returns))[:, np.newaxis] < self.quotas
        cut = int(game.cut)
        return Played(returns.numpy()[played], lengths.numpy()[played], cut)

    @override
    def counted(self, returns: Array) -> Array:
        return np.ones_like(returns, bool)  # nothing else refuses NaN in a graph

    def _started(self, seed: Tensor) -> Game:
        size = self.env.num_envs
        table = tf.zeros([int(self.quotas.max()), size])
        return Game(
            step=tf.constant(0),
            states=self.env.initial(Rng(seed, size)),
            memory=self.policy.initial_state(size),
            counts=tf.zeros([size], tf.int32),
            lengths=tf.zeros([size], tf.int32),
            returns=tf.zeros([size]),
            table=(table, tf.zeros_like(table)),
            cut=tf.constant(0),
        )

    def _continued(
        self, game: Game, seed: Tensor, last: Tensor, max_steps: Tensor
    ) -> Game:
        """Plays up to step `last`, or to the end."""
        env, size, rounds = self.env, self.env.num_envs, int(self.quotas.max())
        quotas = tf.constant(self.quotas, tf.int32)

        def body(game: Game) -> tuple[Game]:
            step, states, memory, counts, lengths, returns, table, cut = game
            seeds = random.seeds([3], seed + tf.stack([0, step + 1]))
            actions, memory = self.act(env.observation(states), memory, seeds[0])
            following = env.transition(states, actions, Rng(seeds[1], size))
            lengths += 1
            returns += env.reward(states, actions, following)
            ended: Tensor = env.terminal(following) | time_is_up(env, lengths)
            late = ~ended & (lengths >= max_steps)
            cut += tf.reduce_sum(tf.cast(late & (counts < quotas), tf.int32))
            ended |= late
            row = tf.one_hot(counts, rounds, axis=0) * tf.cast(ended, tf.float32)
            passed = (returns, tf.cast(lengths, tf.float32))
            table = tuple(t + row * v for t, v in zip(table, passed, strict=True))
            counts += tf.cast(ended, tf.int32)
            states = select(ended, env.initial(Rng(seeds[2], size)), following)
            lengths = tf.where(ended, 0, lengths)
            memory = zero_where(ended, memory)
            returns = tf.where(ended, 0.0, returns)
            following = (step + 1, states, memory, counts, lengths, returns, table, cut)
            return (Game(*following),)

        def unfinished(game: Game) -> Tensor:
            return (game.step < last) & tf.reduce_any(game.counts < quotas)

        played: Game = tf.while_loop(unfinished, body, (game,))[0]
        return played


class HostEvaluator(Evaluator):
    """Plays episodes of a Gymnasium environment."""

    env: HostEnvironment

    @override
    def build(self, jit_compile: bool) -> None:
        self._actor = Actor(self.env, self.policy, self.act)  # without XLA; see there

    @override
    def play(self, seed: int, max_steps: int) -> Played:
        size = self.env.num_envs
        observations = self.env.reset(seed=seed)
        self._actor.restart()
        counts = np.zeros(size, int)
        lengths, returns = np.zeros(size), np.zeros(size)
        played: tuple[list[float], list[float]] = ([], [])
        # A copy whose episode was cut goes on with it, since copies cannot be reset one
        # by one in every autoreset mode, and does not count until it ends.
        live, cut, step = np.ones(size, bool), 0, 0
        while (open_ := counts < self.quotas).any():
            if not (live & open_).any():
                anew = np.random.default_rng([seed & 0x7FFFFFFF, step])
                observations = self.env.reset(seed=int(anew.integers(2**31)))
                self._actor.restart()
                live[:] = True
                lengths[:] = returns[:] = 0
            key = np.array([seed & 0x7FFFFFFF, step], np.int32)
            (actions,) = self._actor(observations, key)
            result = self.env.step(actions)
            observations = result.observations
            lengths += result.valid
            returns += np.where(result.valid, result.rewards, 0.0)
            ended = result.terminated | result.truncated
            self._actor.forget(ended | ~result.valid)
            late = live & ~ended & (lengths >= max_steps)
            for index in np.flatnonzero(live & (ended | late)):
                if counts[index] < self.quotas[index]:
                    scored = result.scored[index]
                    played[0].append(returns[index] if scored else np.nan)
                    played[1].append(lengths[index])
                    cut += int(late[index])
                counts[index] += 1
            lengths[ended] = returns[ended] = 0
            live = (live & ~late) | ended
            step += 1
        return Played(np.array(played[0]), np.array(played[1]), cut)
