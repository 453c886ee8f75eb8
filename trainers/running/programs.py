"""The programs of a compiled trainer: an engine and evaluators."""

from __future__ import annotations

import contextlib
import weakref
from typing import ClassVar, NamedTuple

import keras
import tensorflow as tf

from kpg.environments.construction import as_environment, is_factory
from kpg.environments.environment import Environment
from kpg.environments.graph.functional import GraphEnvironment
from kpg.environments.partner import Partner
from kpg.models.policy import Policy
from kpg.trainers.acting.evaluation import Evaluator
from kpg.trainers.learning.training import Optimized, Training
from kpg.trainers.running.compilation import pays_off
from kpg.trainers.running.engine import Engine
from kpg.trainers.running.kinds import kind_of
from kpg.types import Config, Nest

# Evaluators that are kept of environments that live on, each some megabytes.
_EVALUATORS = 8


class Left(NamedTuple):
    """Where a trainer left programs: its plan, and episodes and fragments of `env`."""

    plan: Config
    episodes: Nest | None
    fragments: Nest
    env: weakref.ref[Environment] | None


class Programs:
    """Builds programs on demand and keeps them: the last engine, the last evaluators.

    An evaluator is gone with its environment, to which it has a weak reference.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        jit_compile: bool | str,
        iterations_per_call: int | None,
        worker_deadline: float | None = None,
    ) -> None:
        self.strategy = strategy
        self.jit_compile = jit_compile
        self.iterations_per_call = iterations_per_call
        self.worker_deadline = worker_deadline
        self.compiled: list[Optimized] = []
        self.engine: Engine | None = None
        self.uses_xla = jit_compile is True
        self._planned = 0
        self._evaluators: dict[tuple[int, int, bool], Evaluator] = {}

    def plan(self, training: Training, env: Environment, iterations: int) -> None:
        """Turns XLA on if `jit_compile` is "auto" and it pays off from now on."""
        self._planned += iterations
        if self.jit_compile != "auto" or training.replicas > 1 or self.uses_xla:
            return
        num_epochs, count = training.minibatches()
        saved = kind_of(env).saved_by_xla(
            num_epochs * count, training.settings.num_steps
        )
        if pays_off(self._planned, saved):
            self._choose(True)

    def _choose(self, uses_xla: bool) -> None:
        self.uses_xla = uses_xla
        self._evaluators = {}
        if self.engine is not None:
            self.engine.compile(uses_xla)

    def state(self) -> Config:
        """Returns what `plan` has decided so far."""
        return {"uses_xla": self.uses_xla, "planned": self._planned}

    def set_state(self, state: Config) -> str | None:
        """Decides as others did; returns what is other all the same, or `None`."""
        self._planned = state["planned"]
        if self.uses_xla != state["uses_xla"] and self.jit_compile == "auto":
            if self.strategy.num_replicas_in_sync == 1:
                self._choose(state["uses_xla"])
        if self.uses_xla == state["uses_xla"]:
            return None
        return f"it was trained {'with' if state['uses_xla'] else 'without'} XLA"

    def lend(self, seed: int, left: Left | None) -> None:
        """Lets a trainer of another seed go on where it left these programs."""
        self._planned = 0
        if self.engine is None:
            return
        self.engine.training = self.engine.training._replace(seed=seed)
        self.engine.restart()
        self.engine.set_fragments(None)
        if left is not None:
            self.set_state(left.plan)
            here = left.env is not None and left.env() is self.engine.whole
            if here and left.episodes is not None:
                self.engine.set_state(left.episodes)
            if here:
                self.engine.set_fragments(left.fragments)

    def taken_back(self) -> Left:
        """Returns where a trainer leaves them; on the host, new episodes begin."""
        engine = self.engine
        if engine is None:
            return Left(self.state(), None, None, None)
        in_graph = isinstance(engine.env, GraphEnvironment)
        episodes = engine.state() if in_graph else None
        env = weakref.ref(engine.whole)
        return Left(self.state(), episodes, engine.fragments(), env)

    def engine_for(self, training: Training, env: Environment) -> Engine:
        """Returns the engine for an environment, where it last stopped."""
        engine = self.engine
        if engine is None or engine.whole is not env or not engine.learns(training):
            with self.strategy.scope():
                engine = kind_of(env).engine(training, env, self.uses_xla)
        self.engine = engine
        return engine

    def finalize(self) -> None:
        """Lets the optimizers end a `fit`, for example by taking averages.

        They know variables by the order in which they were built for them, and have
        averages from the first step on.
        """
        for optimizer, variables in self.compiled:
            if int(tf.convert_to_tensor(optimizer.iterations)) > 0:
                optimizer.finalize_variable_values(variables)

    def evaluator_for(
        self, policy: Policy, env: Environment, episodes: int, deterministic: bool
    ) -> Evaluator:
        """Returns what plays episodes."""
        key = (id(env), episodes, deterministic)
        evaluators = self._evaluators
        found = evaluators.pop(key, None)
        if found is None:
            alive = weakref.proxy(env, lambda _: evaluators.pop(key, None))
            found = kind_of(env).evaluator(
                alive, policy, episodes, deterministic, self.uses_xla
            )
        while len(evaluators) >= _EVALUATORS:
            del evaluators[next(iter(evaluators))]  # used the longest time ago
        evaluators[key] = found
        return found

    def at_base_rates(self) -> contextlib.AbstractContextManager[None]:
        """See `Engine.at_base_rates`."""
        if self.engine is None:
            return contextlib.nullcontext()
        return self.engine.at_base_rates()


class Environments:
    """Returns the same `Environment` for the same object each time, while that lives.

    It has a weak reference to the object, which stays its owner's to keep and to close.
    Trainers share it, since each may interrupt the episodes of the others. What a
    factory makes is one trainer's own.
    """

    _shared: ClassVar[dict[int, tuple[object, Environment]]] = {}

    def __init__(self) -> None:
        self._own: dict[int, tuple[object, Environment]] = {}

    def get(self, env: object) -> Environment:
        """Returns the environment that a user gave in any form of `as_environment`."""
        if isinstance(env, Environment):
            return env
        candidate, known, key = env, self._own, id(env)
        reference: object = env
        with contextlib.suppress(TypeError):  # of a few objects there is no weak one
            reference = weakref.ref(env, lambda _: known.pop(key, None))
            if not is_factory(env):
                candidate, known = weakref.proxy(env), self._shared
        if key not in known:
            known[key] = reference, as_environment(candidate)
        return known[key][1]


def partner_of(env: Environment, executor: keras.Model | None) -> Partner | None:
    """Returns the environment's model that is trained too, which must be `executor`."""
    if executor is None:
        return None
    partner = env.partner()
    if partner is None or partner.model is not executor:
        raise ValueError(
            "A trainer with an executor needs an environment in which it writes: "
            "`kpg.environments.ControlledGeneration(trainer.executor, …)`. Received: "
            + ("one without executor" if partner is None else "one of another executor")
        )
    return partner
