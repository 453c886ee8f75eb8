"""Environments in the graph: collecting and learning in one compiled call."""

from __future__ import annotations

import tensorflow as tf
from typing_extensions import override

from kpg.environments.graph.functional import GraphEnvironment
from kpg.graph import random
from kpg.graph.compiling import compiled
from kpg.trainers.acting import graph
from kpg.trainers.learning import iteration
from kpg.trainers.learning.replicas import fold_in_replica, sum_up
from kpg.trainers.learning.training import Training
from kpg.trainers.running.engine import Engine
from kpg.trajectories import Trajectory
from kpg.types import Logs, Tensor

Carry = tuple[graph.Carry, iteration.Carry]


class GraphEngine(Engine):
    """Runs any number of iterations in one call of one `tf.function`."""

    env: GraphEnvironment

    def __init__(
        self, training: Training, env: GraphEnvironment, jit_compile: bool = False
    ) -> None:
        self._carry: Carry | None = None
        self._names: tuple[str, ...] = ()
        super().__init__(training, env, jit_compile)
        self.collector = graph.GraphCollector(
            env,
            training.policy,
            training.settings.num_steps,
            self.learner.num_envs,
            training.needs.whole_episodes,
            training.needs.greedy,
        )
        self._start = tf.function(self._begin, autograph=False)

    @override
    def compile(self, jit_compile: bool) -> None:
        self._step = tf.function(self._iteration, autograph=False)
        self._function = compiled(self._iterations, jit_compile)

    @property
    @override
    def function(self) -> tf.types.experimental.PolymorphicFunction:
        return self._function

    @override
    def restart(self) -> None:
        self._carry = None

    @override
    def run(self, iterations: int, done: int, total: int, rates: list[float]) -> Logs:
        if self._carry is None:
            seed = self.training.seed if self.env.seed is None else self.env.seed
            key = tf.constant([seed & 0x7FFFFFFF, self.training.seed], tf.int32)
            self._carry = self._start(key)
        self._carry, sums = self._function(
            self._carry,
            tf.constant(self.training.seed),
            tf.constant(iterations),
            tf.constant(done, tf.float32),
            tf.constant(total, tf.float32),
            tf.constant(rates, tf.float32),
        )
        return dict(zip(self._names, sums.numpy().tolist(), strict=True))

    def _begin(self, key: Tensor) -> Carry:
        start = self.strategy.run(
            lambda seed: self.collector.start(fold_in_replica(seed)), (key,)
        )
        return start, self.learner.start()

    def _iterations(
        self,
        carry: Carry,
        seed: Tensor,
        iterations: Tensor,
        done: Tensor,
        total: Tensor,
        rates: Tensor,
    ) -> tuple[Carry, Tensor]:
        """Runs `iterations` iterations: the whole of training as one graph."""
        # Traced on its own: only then is it known which metrics there are.
        traced = self._step.get_concrete_function(carry, seed, done, rates)
        size = traced.structured_outputs[1].shape[0]

        def body(index: Tensor, carry: Carry, sums: Tensor) -> tuple[object, ...]:
            progress = (done + tf.cast(index, tf.float32)) / total
            carry, numbers = self._step(carry, seed, progress, rates)
            return index + 1, carry, sums + numbers

        _, carry, sums = tf.while_loop(
            lambda index, *_: index < iterations,
            body,
            (tf.constant(0), carry, tf.zeros([size])),
        )
        return carry, sums

    def _iteration(
        self, carry: Carry, seed: Tensor, progress: Tensor, rates: Tensor
    ) -> tuple[Carry, Tensor]:
        """Collects and learns once; the numbers are in the order of `_names`."""
        self.schedule_rates(rates, progress)
        seeds = random.seeds([2], self.next_key(seed))
        states, learned = carry
        states, trajectory, episodes = self.strategy.run(
            self._collect, (states, seeds[0])
        )
        learned, metrics = self.learner.learn(trajectory, learned, seeds[1], progress)
        numbers = {**metrics, **sum_up(self.strategy, episodes)._asdict()}
        self._names = tuple(numbers)
        return (states, learned), tf.stack(list(numbers.values()))

    def _collect(
        self, carry: graph.Carry, seed: Tensor
    ) -> tuple[graph.Carry, Trajectory, graph.Episodes]:
        return self.collector.collect(carry, fold_in_replica(seed))
