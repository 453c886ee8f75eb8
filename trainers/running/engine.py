"""What all engines share: iterations as compiled calls."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf
from typing_extensions import override

from kpg import schedules
from kpg.environments.environment import Environment
from kpg.environments.graph.functional import GraphEnvironment
from kpg.environments.host.vector import HostEnvironment
from kpg.graph import random
from kpg.graph.compiling import building_for_xla, compiled, traceable
from kpg.trainers.acting import graph
from kpg.trainers.acting.graph import Episodes
from kpg.trainers.acting.host import HostCollector
from kpg.trainers.learning.iteration import FAILED, Carry, Learner
from kpg.trainers.learning.replicas import (
    fold_in,
    fold_in_replica,
    one_at_a_time,
    replicated,
    split,
    sum_up,
)
from kpg.trainers.learning.training import Training
from kpg.trainers.running.agreement import Agreement
from kpg.trajectories import Trajectory
from kpg.types import Logs, Metrics, Nest, Tensor

GraphCarry = tuple[graph.Carry, Carry]


class Engine(ABC):
    """Runs iterations of a training on one environment, each where the last stopped.

    `env` is this worker's share of the `whole` environment. `base_rates` are what the
    learning rates were before a `fit` whose schedule now changes them; with
    `real_steps`, that goes on by steps, not by iterations.
    """

    function: tf.types.experimental.PolymorphicFunction
    real_steps = False
    base_rates: list[float] | None = None
    _carry: Nest = None

    def __init__(
        self, training: Training, env: Environment, jit_compile: bool = False
    ) -> None:
        self.training = training
        self.strategy = training.strategy
        self.agreement = Agreement(self.strategy, training.worker_deadline)
        self.whole = env
        self.env = env.share(self.agreement.worker, self.agreement.workers)
        self.learner = Learner(training)
        self.compile(jit_compile)

    @abstractmethod
    def run(
        self,
        iterations: int,
        done: float,
        total: int,
        rates: list[float],
        sums: Logs | None = None,
    ) -> Logs:
        """Runs iterations, after `done` of the `total` ones of this `fit`.

        `rates` are the optimizers' learning rates at the start of this `fit`. Returns
        `sums`, by default none, to which one iteration after another has added
        `Learner.learn`'s metrics and the `Episodes`: no digit depends on how many are
        run in a call. One that `FAILED` is the last, and its steps do not count.
        """

    @abstractmethod
    def start(self) -> Nest:
        """Returns what the next iteration takes if it is the first."""

    def restart(self) -> None:
        """Begins new episodes with the next run."""
        self._carry = None

    def state(self, pickled: bool = False) -> Nest:
        """Returns where the episodes are, as arrays, or `None` if new ones begin.

        `pickled` is for the host; see `kpg.environments.host.inner`.
        """
        if self._carry is None:
            return None
        results = self.strategy.experimental_local_results
        leaves = tf.nest.flatten(self._carry)
        return {
            "replicas": self.strategy.num_replicas_in_sync,
            "carry": [[*map(np.array, results(leaf))] for leaf in leaves],
        }

    def set_state(self, state: Nest, pickled: bool = False) -> str | None:
        """Goes on where another engine was, or returns why new episodes begin."""
        start = self.start()
        count, rows = self.strategy.num_replicas_in_sync, state["carry"]
        held = state.get("replicas", len(rows[0]))
        if held != count:
            return f"there are {count} replicas now, and there were {held}"
        if any(len(row) != count for row in rows):
            return "each worker knows its own alone, and the chief wrote it"
        leaves = [replicated(self.strategy, row) for row in rows]
        self._carry = tf.nest.pack_sequence_as(start, leaves)
        return None

    def fragments(self) -> Nest:
        """Returns what is kept to be replayed, as arrays, or `None`."""
        replaying = self.learner.replaying
        return None if replaying is None else replaying.fragments.state()

    def set_fragments(self, state: Nest) -> None:
        """Keeps the fragments of another engine, or none of its own any longer."""
        if self.learner.replaying is not None:
            self.learner.replaying.fragments.set_state(state)

    def first_seed(self, iteration: int) -> int:
        """Returns the seed of episodes that begin with an iteration, so never twice.

        In the first one it is the environment's, by default the trainer's.
        """
        seed = self.training.seed if self.env.seed is None else self.env.seed
        return random.fold_in(seed, iteration) if iteration else seed

    def learns(self, training: Training) -> bool:
        """Whether the graphs train the variables that are trainable now."""
        own = [id(variable) for variable in self.training.variables]
        return own == [id(variable) for variable in training.variables]

    @abstractmethod
    def compile(self, jit_compile: bool) -> None:
        """Builds the graphs anew, with the update in `function`; episodes go on."""

    def next_key(self, seed: Tensor | int) -> Tensor:
        """Counts an iteration and returns its `[2]` seed; `seed` is a graph's input."""
        training = self.training
        iteration = tf.cast(tf.convert_to_tensor(training.iteration), tf.int32)
        training.iteration.assign_add(1)
        return tf.stack([seed, iteration])

    @property
    def rows(self) -> int:
        """Rows of an iteration, of all environments."""
        return self.training.settings.num_steps * self.training.num_envs

    @property
    def rates(self) -> list[float]:
        """The optimizers' learning rates."""
        return [
            float(tf.convert_to_tensor(optimizer.learning_rate))
            for optimizer, _ in self.training.optimized
        ]

    @rates.setter
    def rates(self, rates: list[float]) -> None:
        for (optimizer, _), rate in zip(self.training.optimized, rates, strict=True):
            optimizer.learning_rate = rate

    @contextlib.contextmanager
    def at_base_rates(self) -> Iterator[None]:
        """Undoes for a while what a schedule has made of the learning rates."""
        if self.base_rates is None:
            yield
            return
        now, self.rates = self.rates, self.base_rates
        try:
            yield
        finally:
            self.rates = now

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

    def steps_taken(self) -> int:
        """Returns this worker's environment steps of the last `collect`."""
        return self.rows // self.agreement.workers

    @override
    def start(self) -> Carry:
        alone, start = self.agreement.workers == 1, self.learner.start
        carry: Carry = start() if alone else traceable(start)()
        return carry

    @override
    def compile(self, jit_compile: bool) -> None:
        self.function = compiled(self.learn, jit_compile)

    @override
    def run(
        self,
        iterations: int,
        done: float,
        total: int,
        rates: list[float],
        sums: Logs | None = None,
    ) -> Logs:
        sums = dict(sums or {})
        for _ in range(iterations):
            iteration = int(tf.convert_to_tensor(self.training.iteration))
            seeds = random.seeds([2], self.next_key(self.training.seed))
            worker = self.agreement.worker
            own = fold_in(seeds[0], worker) if worker else seeds[0]
            with self.agreement.meeting() as said:
                trajectory, episodes = self.collect(iteration, own)
                said += [self.steps_taken(), *map(float, episodes)]
            steps, *ended = said
            if self._carry is None:
                self._carry = self.start()
            with self.agreement.learning(1):
                self._carry, metrics = self.function(
                    split(self.strategy, trajectory),
                    self._carry,
                    seeds[1],
                    tf.constant(done / total, tf.float32),
                    tf.constant(rates, tf.float32),
                )
                numbers = {**metrics, **Episodes(*ended)._asdict()}
                numbers = {name: float(number) for name, number in numbers.items()}
            for name, number in numbers.items():
                sums[name] = sums.get(name, 0.0) + number
            if _failures(metrics) > 0.0:
                break
            self.training.env_steps.assign_add(int(steps))
            done += steps / self.rows if self.real_steps else 1
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
        return self.learner.learn(self.prepared(trajectory), carry, seed, progress)

    def prepared(self, trajectory: Trajectory) -> Trajectory:
        """Returns what each replica learns from; builds graph."""
        return trajectory


class HostEngine(HostedEngine):
    """Steps Gymnasium's environments."""

    env: HostEnvironment

    def __init__(
        self, training: Training, env: HostEnvironment, jit_compile: bool = False
    ) -> None:
        super().__init__(training, env, jit_compile)
        if training.algorithm.needs.greedy:
            raise ValueError(
                "A comparison with the greedy episode from the same start needs an "
                "environment that can start twice in one state: one in the graph, or a "
                f"text task. Received: {env.name}"
            )
        self.collector = HostCollector(
            self.env,
            training.policy,
            training.settings.num_steps,
            training.algorithm.needs.whole_episodes,
            training.partner,
        )

    @override
    def restart(self) -> None:
        super().restart()
        self.collector.restart_episodes()

    @override
    def state(self, pickled: bool = False) -> Nest:
        own, state = self.collector.state(pickled), super().state()
        return None if own is None or state is None else {**state, "collector": own}

    @override
    def set_state(self, state: Nest, pickled: bool = False) -> str | None:
        own = state["collector"]
        if not pickled and isinstance(own["env"]["inner"], bytes):
            return "pickled environments are read only with `pickle_environments=True`"
        why = super().set_state(state)
        if why is None:
            self.collector.set_state(own)
        return why

    @override
    def collect(self, iteration: int, seed: Tensor) -> tuple[Trajectory, Episodes]:
        if not self.collector.goes_on:
            self.restart()  # what is carried along is of those episodes
        first, worker = self.first_seed(iteration), self.agreement.worker
        first = random.fold_in(first, worker) if worker else first
        trajectory, episodes = self.collector.collect(seed, first)
        if not self.training.settings.normalize_observations:
            self.env.check_digits(trajectory.observations)
        return trajectory, episodes

    @override
    def steps_taken(self) -> int:
        return self.collector.steps


class GraphEngine(Engine):
    """Runs any number of iterations in one call of one `tf.function`."""

    env: GraphEnvironment
    _carry: GraphCarry | None = None
    _names: tuple[str, ...] = ()

    def __init__(
        self, training: Training, env: GraphEnvironment, jit_compile: bool = False
    ) -> None:
        super().__init__(training, env, jit_compile)
        self.collector = graph.GraphCollector(
            env,
            training.policy,
            training.settings.num_steps,
            self.learner.num_envs,
            training.algorithm.needs.whole_episodes,
            training.algorithm.needs.greedy,
        )
        self._start = traceable(self._begin)

    @override
    def compile(self, jit_compile: bool) -> None:
        self._step = traceable(self._iteration)
        self.function = compiled(self._iterations, jit_compile)
        self._for_xla, self._names = jit_compile, ()

    @override
    def run(
        self,
        iterations: int,
        done: float,
        total: int,
        rates: list[float],
        sums: Logs | None = None,
    ) -> Logs:
        if self._carry is None:
            self._carry = self.start()
        inputs = (
            self._carry,
            tf.constant(self.training.seed),
            tf.constant(done, tf.float32),
            tf.constant(rates, tf.float32),
        )
        if not self._names and not tf.config.functions_run_eagerly():
            # Traced separately first, to know which metrics there are.
            with building_for_xla(self._for_xla):
                self._step.get_concrete_function(*inputs)
        # Where no graph is built, the sums so far know the names.
        names = self._names or tuple(sums or ())
        before = [(sums or {}).get(name, 0.0) for name in names]
        with self.agreement.learning(iterations):
            self._carry, after = self.function(
                *inputs,
                tf.constant(iterations),
                tf.constant(total, tf.float32),
                tf.constant(before or 0.0, tf.float64),
            )
            numbers = after.numpy().tolist()
        return dict(zip(self._names, numbers, strict=True))

    @override
    def start(self) -> GraphCarry:
        iteration = int(tf.convert_to_tensor(self.training.iteration))
        seed = self.first_seed(iteration) & 0x7FFFFFFF
        carry: GraphCarry = self._start(
            tf.constant([seed, self.training.seed], tf.int32)
        )
        return carry

    def _begin(self, key: Tensor) -> GraphCarry:
        start = self.strategy.run(
            lambda seed: self.collector.start(fold_in_replica(seed)), (key,)
        )
        return start, self.learner.start()

    def _iterations(
        self,
        carry: GraphCarry,
        seed: Tensor,
        done: Tensor,
        rates: Tensor,
        iterations: Tensor,
        total: Tensor,
        sums: Tensor,
    ) -> tuple[GraphCarry, Tensor]:
        """Runs up to `iterations` iterations: the whole of training as one graph."""

        def body(
            index: Tensor, going: Tensor, carry: GraphCarry, sums: Tensor
        ) -> tuple[object, ...]:
            progress = (done + tf.cast(index, tf.float32)) / total
            carry, numbers = self._step(carry, seed, progress, rates)
            named = dict(zip(self._names, tf.unstack(numbers), strict=True))
            going = _failures(named) <= 0.0
            return index + 1, going, carry, sums + tf.cast(numbers, tf.float64)

        *_, carry, sums = tf.while_loop(
            lambda index, going, *_: going & (index < iterations),
            body,
            (tf.constant(0), tf.constant(True), carry, sums),
            **one_at_a_time(self.strategy),
        )
        return carry, sums

    def _iteration(
        self, carry: GraphCarry, seed: Tensor, progress: Tensor, rates: Tensor
    ) -> tuple[GraphCarry, Tensor]:
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
        counts = tf.cast(_failures(numbers) <= 0.0, tf.int64)
        self.training.env_steps.assign_add(self.rows * counts)
        return (states, learned), tf.stack(list(numbers.values()))

    def _collect(
        self, carry: graph.Carry, seed: Tensor
    ) -> tuple[graph.Carry, Trajectory, Episodes]:
        return self.collector.collect(carry, fold_in_replica(seed))


def _failures(numbers: Mapping[str, Tensor]) -> Tensor:
    """Returns a scalar that is positive if an iteration failed; see `FAILED`."""
    return tf.add_n([numbers[name] for name in FAILED if name in numbers])
