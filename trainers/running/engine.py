"""What all engines share: iterations as compiled calls."""

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
    """Runs iterations of a training on one environment, each where the last stopped."""

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
        """Runs iterations, after `done` of the `total` ones of this `fit`.

        `rates` are the optimizers' learning rates at the start of this `fit`. Returns
        sums over the iterations of `Learner.learn`'s metrics and the `Episodes`.
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
        """Counts an iteration and returns its `[2]` int32 seed.

        A graph must not hold `seed` as a constant: each seed would compile it anew.
        """
        training = self.training
        iteration = tf.cast(tf.convert_to_tensor(training.iteration), tf.int32)
        training.iteration.assign_add(1)
        training.env_steps.assign_add(training.settings.num_steps * training.num_envs)
        return tf.stack([seed, iteration])

    def schedule_rates(self, bases: Tensor, progress: Tensor) -> None:
        """Sets this iteration's learning rates from the initial ones, `[K]`."""
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
        """Collects a trajectory, given the iteration's number and a `[2]` seed."""

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
