"""Iterations as compiled calls: one for an in-graph environment, two for a host's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, cast

import tensorflow as tf

from kpg.environments.environment import Environment
from kpg.environments.graph.functional import GraphEnvironment
from kpg.environments.host.vector import HostEnvironment
from kpg.environments.partner import Partner
from kpg.graph import random
from kpg.graph.compiling import compiled
from kpg.language.generation import TextGeneration
from kpg.trainers.acting.graph import Episodes, GraphCollector
from kpg.trainers.acting.host import HostCollector
from kpg.trainers.learning.iteration import Learner, schedule_learning_rates
from kpg.trainers.learning.replicas import fold_in_replica, split, sum_up
from kpg.trajectories import Trajectory

if TYPE_CHECKING:
    from kpg.trainers.trainer import Trainer


class Engine(ABC):
    """Runs iterations of a trainer on one environment, and goes on where it stopped."""

    def __init__(self, trainer: Trainer, env: Environment) -> None:
        self.trainer = trainer
        self.env = env
        self.strategy = trainer.distribute_strategy
        self.partner = _partner(trainer, env)
        self.learner = Learner(trainer, env.num_envs, self.partner)

    @abstractmethod
    def run(self, iterations: int, done: int, total: int, rates: list[float]) -> Any:
        """Runs iterations.

        Args:
            iterations: How many.
            done: Iterations of this `fit` before them.
            total: Iterations of this `fit` in all.
            rates: The learning rate of each optimizer at the start of this `fit`.

        Returns:
            `[M]` float32 NumPy array: sums over the iterations of what `Learner.learn`
            returns, followed by the fields of `Episodes`.
        """

    @abstractmethod
    def restart(self) -> None:
        """Begins new episodes with the next run."""

    @abstractmethod
    def compile(self) -> None:
        """Builds the graphs anew, for XLA if the trainer uses it; episodes go on."""

    @property
    @abstractmethod
    def function(self) -> Any:
        """The `tf.function` that holds the update."""

    def _next_key(self, entropy: Any) -> tf.Tensor:
        """Returns the `[2]` int32 seed of the next iteration, and counts it.

        Args:
            entropy: The trainer's, which no graph may hold as a constant: it would be
                compiled anew for every seed.
        """
        trainer = self.trainer
        iteration = tf.cast(tf.convert_to_tensor(trainer.iteration), tf.int32)
        trainer.iteration.assign_add(1)
        steps = trainer.settings.num_steps * self.env.num_envs
        trainer.env_steps_counter.assign_add(steps)
        return tf.stack([entropy, iteration])


class GraphEngine(Engine):
    """Collects and learns inside one `tf.function`, any number of iterations a call."""

    def __init__(self, trainer: Trainer, env: GraphEnvironment) -> None:
        super().__init__(trainer, env)
        self.collector = GraphCollector(
            env,
            trainer.policy,
            trainer.settings.num_steps,
            self.learner.num_envs,
            trainer.restart_every_iteration,
            trainer.compares_with_greedy,
        )
        self._carry: Any = None
        self._start = tf.function(self._begin, autograph=False)
        self.compile()

    def compile(self) -> None:
        """See `Engine.compile`."""
        self._function = compiled(self._iterate, self.trainer.uses_xla)

    @property
    def function(self) -> Any:
        """See `Engine.function`."""
        return self._function

    def restart(self) -> None:
        """See `Engine.restart`."""
        self._carry = None

    def run(self, iterations: int, done: int, total: int, rates: list[float]) -> Any:
        """See `Engine.run`."""
        if self._carry is None:
            seed = self.env.seed if self.env.seed is not None else self.trainer.entropy
            key = tf.constant([seed & 0x7FFFFFFF, self.trainer.entropy], tf.int32)
            self._carry = self._start(key)
        self._carry, sums = self._function(
            self._carry,
            tf.constant(self.trainer.entropy),
            tf.constant(iterations),
            tf.constant(done, tf.float32),
            tf.constant(total, tf.float32),
            tf.constant(rates, tf.float32),
        )
        return sums.numpy()

    def _begin(self, key: tf.Tensor) -> Any:
        start = self.strategy.run(
            lambda seed: self.collector.start(fold_in_replica(seed)), (key,)
        )
        return start, self.learner.start()

    def _collect(self, carry: Any, seed: tf.Tensor) -> Any:
        return self.collector.collect(carry, fold_in_replica(seed))

    def _iterate(
        self,
        carry: Any,
        entropy: tf.Tensor,
        iterations: tf.Tensor,
        done: tf.Tensor,
        total: tf.Tensor,
        rates: tf.Tensor,
    ) -> tuple[Any, tf.Tensor]:
        """Runs `iterations` iterations; the whole of training is in this graph."""

        def body(index: tf.Tensor, carry: Any, sums: tf.Tensor) -> Any:
            progress = (done + tf.cast(index, tf.float32)) / total
            schedule_learning_rates(self.trainer, rates, progress)
            seeds = random.seeds([2], self._next_key(entropy))
            states, discounted = carry
            states, trajectory, episodes = self.strategy.run(
                self._collect, (states, seeds[0])
            )
            discounted, metrics = self.learner.learn(
                trajectory, discounted, seeds[1], progress
            )
            ended = tf.stack(list(sum_up(self.strategy, episodes)))
            return (
                index + 1,
                (states, discounted),
                sums + tf.concat([metrics, ended], 0),
            )

        size = len(self.learner.names) + len(Episodes._fields)
        _, carry, sums = tf.while_loop(
            lambda index, *_: index < iterations,
            body,
            (tf.constant(0), carry, tf.zeros([size])),
        )
        return carry, sums


class HostedEngine(Engine):
    """Collects on the host, and learns in one compiled call."""

    def __init__(self, trainer: Trainer, env: Environment) -> None:
        super().__init__(trainer, env)
        self._carry: Any = None

    @abstractmethod
    def collect(self, iteration: int, seed: tf.Tensor) -> tuple[Trajectory, Episodes]:
        """Collects the trajectory of an iteration.

        Args:
            iteration: Its number, from 0 on.
            seed: `[2]` int32, a stateless seed.
        """

    def compile(self) -> None:
        """See `Engine.compile`."""
        self._function = compiled(self._learn, self.trainer.uses_xla)

    @property
    def function(self) -> Any:
        """See `Engine.function`."""
        return self._function

    def run(self, iterations: int, done: int, total: int, rates: list[float]) -> Any:
        """See `Engine.run`."""
        sums: Any = 0.0
        for index in range(iterations):
            if self._carry is None:
                self._carry = self.learner.start()
            iteration = int(tf.convert_to_tensor(self.trainer.iteration))
            seeds = random.seeds([2], self._next_key(self.trainer.entropy))
            trajectory, episodes = self.collect(iteration, seeds[0])
            self._carry, metrics = self._function(
                split(self.strategy, trajectory),
                self._carry,
                seeds[1],
                tf.constant((done + index) / total, tf.float32),
                tf.constant(rates, tf.float32),
            )
            sums = sums + tf.concat([metrics, list(episodes)], axis=0).numpy()
        return sums

    def _learn(
        self,
        trajectory: Any,
        carry: Any,
        key: tf.Tensor,
        progress: tf.Tensor,
        rates: tf.Tensor,
    ) -> tuple[Any, tf.Tensor]:
        schedule_learning_rates(self.trainer, rates, progress)
        return self.learner.learn(trajectory, carry, key, progress)


class HostEngine(HostedEngine):
    """Steps Gymnasium's environments, with one compiled call a step for acting."""

    def __init__(self, trainer: Trainer, env: HostEnvironment) -> None:
        super().__init__(trainer, env)
        if trainer.compares_with_greedy:
            raise ValueError(
                "A comparison with the greedy episode from the same start needs an "
                "environment that can begin twice in one state: one in the graph, or a "
                "text task. Received: baseline='self_critical' on "
                f"{env.spec.id if env.spec else type(env).__name__}"
            )
        self.collector = HostCollector(
            env,
            trainer.policy,
            trainer.settings.num_steps,
            trainer.restart_every_iteration,
            self.partner,
        )
        self.compile()

    def restart(self) -> None:
        """See `Engine.restart`."""
        self._carry = None
        self.collector.restart_episodes()

    def collect(self, iteration: int, seed: tf.Tensor) -> tuple[Trajectory, Episodes]:
        """See `HostedEngine.collect`: the number is of no concern to environments."""
        return self.collector.collect(seed)


def _partner(trainer: Trainer, env: Environment) -> Partner | None:
    """Returns the environment's model that the trainer teaches, if it teaches one."""
    if trainer.executor is None:
        return None
    partner = env.partner()
    if partner is None or partner.model is not trainer.executor:
        raise ValueError(
            "A trainer with an executor needs an environment in which it writes: "
            "`kpg.environments.ControlledGeneration(trainer.executor, …)`. Received: "
            + ("one without executor" if partner is None else "one of another executor")
        )
    return partner


def engine_for(trainer: Trainer, env: Environment) -> Engine:
    """Returns the engine for an environment of any kind."""
    if isinstance(env, GraphEnvironment):
        return GraphEngine(trainer, env)
    if isinstance(env, HostEnvironment):
        return HostEngine(trainer, env)
    if isinstance(env, TextGeneration):
        from kpg.trainers.language.engine import TextEngine

        return cast(Engine, TextEngine(trainer, env))
    raise ValueError(
        "A trainer runs on environments made by `kpg.make` or "
        f"`kpg.environments.as_environment`. Received: {type(env).__name__}"
    )
