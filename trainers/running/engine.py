"""Iterations as compiled calls: the parts that all engines share."""

from __future__ import annotations

from abc import ABC, abstractmethod

import tensorflow as tf
from typing_extensions import override

from kpg import schedules
from kpg.environments.environment import Environment
from kpg.graph import random
from kpg.graph.compiling import compiled
from kpg.trainers.acting.graph import Episodes
from kpg.trainers.learning.iteration import Carry, Learner
from kpg.trainers.learning.replicas import split
from kpg.trainers.learning.training import Training
from kpg.trajectories import Trajectory
from kpg.types import Logs, Metrics, Tensor


class Engine(ABC):
    """Runs iterations of a training on one environment, each where the last stopped.

    Args:
        training: What is trained, and how.
        env: The environment.
        jit_compile: Whether XLA compiles the graphs.
    """

    def __init__(
        self, training: Training, env: Environment, jit_compile: bool = False
    ) -> None:
        self.training = training
        self.env = env
        self.strategy = training.strategy
        self.learner = Learner(training)
        self.compile(jit_compile)

    @abstractmethod
    def run(self, iterations: int, done: int, total: int, rates: list[float]) -> Logs:
        """Runs iterations.

        Args:
            iterations: How many.
            done: Iterations of this `fit` before them.
            total: Iterations of this `fit` in all.
            rates: The learning rate of each optimizer at the start of this `fit`.

        Returns:
            By name, sums over the iterations of what `Learner.learn` returns and of the
            fields of `Episodes`.
        """

    @abstractmethod
    def restart(self) -> None:
        """Begins new episodes with the next run."""

    @abstractmethod
    def compile(self, jit_compile: bool) -> None:
        """Builds the graphs anew; episodes go on."""

    @property
    @abstractmethod
    def function(self) -> tf.types.experimental.PolymorphicFunction:
        """The `tf.function` that holds the update."""

    def next_key(self, seed: Tensor | int) -> Tensor:
        """Returns the `[2]` int32 seed of the next iteration, and counts it.

        Args:
            seed: The training's, which no graph may hold as a constant: it would be
                compiled anew for every seed.
        """
        training = self.training
        iteration = tf.cast(tf.convert_to_tensor(training.iteration), tf.int32)
        training.iteration.assign_add(1)
        training.env_steps.assign_add(training.settings.num_steps * training.num_envs)
        return tf.stack([seed, iteration])

    def schedule_rates(self, bases: Tensor, progress: Tensor) -> None:
        """Sets this iteration's learning rates, if they have a schedule in time.

        Args:
            bases: `[K]` float32, the rate of each optimizer at the start of this `fit`.
            progress: Scalar in [0, 1], how much of this `fit` is done.
        """
        name = self.training.settings.learning_rate_schedule
        if name not in schedules.SCHEDULES or name == "constant":
            return
        for index, (optimizer, _) in enumerate(self.training.optimized):
            rate = bases[index] * schedules.factor(name, progress)
            optimizer.learning_rate.assign(rate)


class HostedEngine(Engine):
    """Collects on the host, and learns in one compiled call."""

    _carry: Carry | None = None

    @abstractmethod
    def collect(self, iteration: int, seed: Tensor) -> tuple[Trajectory, Episodes]:
        """Collects the trajectory of an iteration.

        Args:
            iteration: Its number, from 0 on.
            seed: `[2]` int32, a stateless seed.
        """

    @override
    def compile(self, jit_compile: bool) -> None:
        self._function = compiled(self.learn, jit_compile)

    @property
    @override
    def function(self) -> tf.types.experimental.PolymorphicFunction:
        return self._function

    @override
    def run(self, iterations: int, done: int, total: int, rates: list[float]) -> Logs:
        sums: Logs = {}
        for index in range(iterations):
            if self._carry is None:
                self._carry = self.learner.start()
            iteration = int(tf.convert_to_tensor(self.training.iteration))
            seeds = random.seeds([2], self.next_key(self.training.seed))
            trajectory, episodes = self.collect(iteration, seeds[0])
            self._carry, metrics = self._function(
                split(self.strategy, trajectory),
                self._carry,
                seeds[1],
                tf.constant((done + index) / total, tf.float32),
                tf.constant(rates, tf.float32),
            )
            for name, number in {**metrics, **episodes._asdict()}.items():
                sums[name] = sums.get(name, 0.0) + float(number)
        return sums

    def learn(
        self,
        trajectory: Trajectory,
        carry: Carry,
        seed: Tensor,
        progress: Tensor,
        rates: Tensor,
    ) -> tuple[Carry, Metrics]:
        """Builds graph: see `Learner.learn`."""
        self.schedule_rates(rates, progress)
        return self.learner.learn(trajectory, carry, seed, progress)

    @override
    def restart(self) -> None:
        self._carry = None
