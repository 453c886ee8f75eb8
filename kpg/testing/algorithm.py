"""A check for algorithms."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import cast

import numpy as np
import tensorflow as tf

from kpg.environments.environment import Environment
from kpg.environments.graph.functional import GraphEnvironment
from kpg.environments.host.vector import HostEnvironment
from kpg.graph.compiling import traceable
from kpg.trainers.acting.graph import GraphCollector
from kpg.trainers.acting.host import HostCollector
from kpg.trainers.learning.estimation import Estimation
from kpg.trainers.learning.outputs import outputs
from kpg.trainers.running.loading import load
from kpg.trainers.trainer import Trainer
from kpg.trajectories import Trajectory
from kpg.types import Array

_RATIO_TOLERANCE = 1e-4


def check_algorithm(trainer: Trainer, env: Environment, iterations: int = 2) -> None:
    """Tries an algorithm for a few iterations; the trainer learns from them.

    Args:
        trainer: A trainer of the algorithm; it is compiled if it is not yet.
        env: An environment that it fits, as `kpg.make("CartPole-v1", 4, seed=0)`.
        iterations: How many. Defaults to 2.

    Raises:
        AssertionError: If the first ratio of new to old policy is not 1, a weight or a
            metric is not finite, a trainable weight does not change, the graph is
            traced more than once, or saving and loading changes the trainer.
        ValueError: If a hook returns what it must not; see `kpg.trainers.Algorithm`.
    """
    if not trainer.compiled:
        trainer.compile(jit_compile=False)
    _check_first_ratio(trainer, env)
    before = _weights(trainer)
    history = trainer.fit(env, steps_per_epoch=iterations, verbose=0).history
    _check_learned(trainer, before)
    _check_history(history)
    trainer.fit(env, steps_per_epoch=iterations, verbose=0)
    _check_one_trace(trainer)
    _check_saved(trainer)


def _weights(trainer: Trainer) -> list[Array]:
    return [np.array(tf.convert_to_tensor(v)) for v in trainer.learned_variables()]


def fragment_of(trainer: Trainer, env: Environment) -> Trajectory:
    """Collects one fragment as an iteration would, and forgets where it ended."""
    needs, steps = trainer.needs, trainer.settings.num_steps
    key = np.array([trainer.effective_seed, 0], np.int32)
    rows: Trajectory
    if not isinstance(env, GraphEnvironment):
        # `as_environment` makes two kinds: what is not in the graph is on the host.
        on_host = cast(HostEnvironment, env)
        host = HostCollector(on_host, trainer.policy, steps, needs.whole_episodes)
        rows = tf.nest.map_structure(tf.constant, host.collect(key)[0])
        return rows
    graph = GraphCollector(
        env, trainer.policy, steps, env.num_envs, needs.whole_episodes, needs.greedy
    )

    def fragment() -> Trajectory:
        seed = tf.constant(key)
        return graph.collect(graph.start(seed), seed)[1]

    rows = traceable(fragment)()
    return rows


def _check_first_ratio(trainer: Trainer, env: Environment) -> None:
    training, trajectory = trainer.training_on(env.num_envs), fragment_of(trainer, env)
    state = () if trainer.critic is None else trainer.critic.initial_state(env.num_envs)
    batch, *_ = Estimation(training).batch(trajectory, state)
    said = outputs(trainer.policy, trainer.critic, batch)
    moved = tf.abs(said.log_probs - batch.log_probs)
    if batch.valid is not None:
        moved = tf.where(batch.valid, moved, 0.0)
    furthest = float(tf.reduce_max(moved))
    if not furthest < _RATIO_TOLERANCE:
        raise AssertionError(
            "Before the first update the policy that learns must be the one that "
            f"acted: all ratios are 1. Received: a log-ratio of {furthest:.3g} nats"
        )


def _check_learned(trainer: Trainer, before: list[Array]) -> None:
    variables = trainer.learned_variables()
    after = _weights(trainer)
    for variable, value in zip(variables, after, strict=True):
        if not np.isfinite(value).all():
            raise AssertionError(
                f"Weights must stay finite. Received: inf or nan in {variable.path}"
            )
    triples = zip(variables, before, after, strict=True)
    still = [v.path for v, old, new in triples if np.array_equal(old, new)]
    if still:
        raise AssertionError(
            "Every trainable weight must be learned; make the loss depend on it, or "
            f"freeze it with `trainable=False`. Received: unchanged {', '.join(still)}"
        )


def _check_history(history: dict[str, list[float]]) -> None:
    known = ("return", "length")  # NaN while no episode has ended
    for name, values in history.items():
        if name not in known and not np.isfinite(values).all():
            words = f"Metrics must be finite. Received: {name}={values[-1]!r}"
            raise AssertionError(words)


def _check_one_trace(trainer: Trainer) -> None:
    function = trainer.function
    traces = 0 if function is None else function.experimental_get_tracing_count()
    if traces != 1:
        raise AssertionError(
            "An iteration must be traced once: shapes must be static, and no Python "
            f"number that changes may enter the graph. Received: {traces} traces"
        )


def _check_saved(trainer: Trainer) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trainer.keras"
        trainer.save(path)
        again = load(path)
    if type(again) is not type(trainer) or again.settings != trainer.settings:
        raise AssertionError(
            "Saving and loading must give the same algorithm with the same settings. "
            f"Received: {type(again).__name__} with {again.settings}"
        )
    for own, other in zip(trainer.variables, again.variables, strict=True):
        if not np.array_equal(own, other):
            raise AssertionError(
                "Saving and loading must give the same weights; add yours in "
                f"`add_state`. Received: other values in {own.path}"
            )
