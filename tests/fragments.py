"""Made-up fragments of experience, and one iteration of learning from them.

This is the one file of the tests that reaches inside the trainers.
"""

from __future__ import annotations

import unittest.mock
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from kpg.environments.graph.functional import GraphEnvironment
from kpg.graph import random
from kpg.trainers.learning.estimation import Estimation
from kpg.trainers.learning.iteration import Learner
from kpg.trainers.running.programs import partner_of
from kpg.trajectories import Trajectory

T, B = 6, 4


def fragment(policy: Any, masked: bool = False, whole: bool = False) -> Any:
    """Returns `T` steps of `B` environments with four numbers to observe.

    Args:
        policy: What the actions and their log-probabilities are of.
        masked: Whether some rows are not valid.
        whole: Whether each environment has one episode, whose end is the last valid
            row.
    """
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(T + 1, B, 4)).astype("float32")
    terminated = rng.random((T, B)) < 0.2
    truncated = (rng.random((T, B)) < 0.2) & ~terminated
    finals = rng.normal(size=(T, B, 4)).astype("float32")
    valid = rng.random((T, B)) < 0.6 if masked else None
    if whole:
        last = np.array([2, 5, 3, 4])
        terminated = np.arange(T)[:, np.newaxis] == last
        truncated = np.zeros_like(terminated)
        valid = np.arange(T)[:, np.newaxis] <= last
    ended = (terminated | truncated)[..., np.newaxis]
    actions, log_probs = policy.sample(observations[:-1].reshape(-1, 4), [1, 2])
    return Trajectory(
        observations=tf.constant(observations[:-1]),
        actions=tf.reshape(actions, [T, B]),
        log_probs=tf.reshape(log_probs, [T, B]),
        rewards=tf.constant(rng.normal(size=(T, B)), tf.float32),
        terminated=tf.constant(terminated),
        truncated=tf.constant(truncated),
        valid=None if valid is None else tf.constant(valid),
        next_observations=tf.constant(np.where(ended, finals, observations[1:])),
    )


def learner_of(trainer: Any, num_envs: int) -> Learner:
    """Returns what learns from fragments of so many environments."""
    return Learner(trainer.training_on(num_envs))


def learn(
    trainer: Any,
    rows: Any,
    carry: Any = None,
    progress: float = 0.0,
    *,
    num_envs: int = B,
    graph: bool = False,
) -> tuple[Any, dict[str, float]]:
    """Runs one iteration; returns what it carries and its metrics by name.

    Args:
        trainer: A compiled trainer.
        rows: What it learns from.
        carry: From the call before. Defaults to that of a first iteration.
        progress: How much of the training is done, in [0, 1].
        num_envs: Columns of `rows`, of all replicas together.
        graph: Whether a graph is built, as `fit` does. The numbers are those of the
            operations one by one, which for a single iteration is several times as
            fast.
    """
    learner = learner_of(trainer, num_envs)
    function = tf.function(learner.learn, autograph=False) if graph else learner.learn
    carry = learner.start() if carry is None else carry
    seed = tf.constant([5, 6])
    carry, metrics = function(rows, carry, seed, tf.constant(progress))
    return carry, {name: float(number) for name, number in metrics.items()}


def gradients(trainer: Any, num_envs: int = B) -> Callable[[Any], list[np.ndarray]]:
    """Returns a function from rows to the gradient of a trainer's loss on them.

    It is what a plain step of 1 would subtract; the trainer stays as it was.
    """
    learner = learner_of(trainer, num_envs)
    function = tf.function(learner.learn, autograph=False)
    start, variables = learner.start(), trainer.learned_variables()
    trainer.optimizer.learning_rate = 1.0

    def of(rows: Any) -> list[np.ndarray]:
        kept, before = values_of(trainer.variables), values_of(variables)
        function(rows, start, tf.constant([5, 6]), tf.constant(0.0))
        after = values_of(variables)
        for variable, value in zip(trainer.variables, kept, strict=True):
            variable.assign(value)
        return [old - new for old, new in zip(before, after, strict=True)]

    return of


def replayed(trainer: Any, rows: Any) -> dict[str, float]:
    """Takes the steps on kept rows alone, and returns their metrics by name.

    The trainer's `replay` keeps one fragment.
    """
    learner = learner_of(trainer, rows.rewards.shape[1])
    own, state, sound = (
        learner.replaying,
        learner.start().critic_state,
        tf.constant(True),
    )
    assert own is not None
    batch = learner.estimation.batch(rows, state)[0]
    own.keep(rows, state, sound)
    learner.tally.start()
    seed, progress = tf.constant([5, 6]), tf.constant(0.0)
    metrics = own.learn(rows, state, batch, seed, sound, progress, learner.tally)
    return {name: float(number) for name, number in metrics.items()}


def estimates_of(trainer: Any, rows: Any, carry: Any = None) -> tuple[Any, Any]:
    """Returns what the algorithm is told of rows, and what the iteration carries.

    The trainer stays as it was.
    """
    seen: list[Any] = []
    usual = trainer.estimate

    def estimate(estimates: Any) -> Any:
        seen.append(estimates)
        return usual(estimates)

    kept = values_of(trainer.variables)
    with unittest.mock.patch.object(type(trainer), "estimate", staticmethod(estimate)):
        carry, _ = learn(trainer, rows, carry, num_envs=rows.rewards.shape[1])
    for variable, value in zip(trainer.variables, kept, strict=True):
        variable.assign(value)
    return seen[0], carry


def batch_of(trainer: Any, rows: Any, group_size: int | None = None) -> Any:
    """Returns the rows that an iteration's minibatches are taken from."""
    num_envs = rows.rewards.shape[1]
    state = learner_of(trainer, num_envs).start().critic_state
    training = trainer.training_on(num_envs, group_size=group_size)
    return Estimation(training).batch(rows, state, None)[0]


def engine_of(trainer: Any, env: Any) -> Any:
    """Returns the engine that the next `fit` on an environment would use."""
    partner = partner_of(env, trainer.executor)
    training = trainer.training_on(env.num_envs, partner, env.group_size)
    return trainer._programs.engine_for(training, env)


def collected(trainer: Any, env: Any, number: int = 2) -> tuple[Any, Any]:
    """Returns the fragment that a next iteration would learn from, and its episodes.

    Before the first `fit` it is that of a first iteration.
    """
    engine, seed = engine_of(trainer, env), tf.constant([1, number])
    if not isinstance(env, GraphEnvironment):
        rows, episodes = engine.collect(0, seed)
        tensors = tf.nest.map_structure(
            lambda part: None if part is None else tf.convert_to_tensor(part), rows
        )
        return tensors, episodes
    states = engine.collector.start(seed)
    if engine._carry is not None:
        states, _ = engine._carry
    _, rows, episodes = engine.collector.collect(states, seed)
    return rows, episodes


def states_of(trainer: Any) -> Any:
    """Returns where the environments of the last `fit` in the graph are now."""
    states, _ = trainer._programs.engine._carry
    return states.states


def orders_of(trainer: Any, num_envs: int, iteration: int) -> np.ndarray:
    """Returns the rows of each minibatch of an iteration, `[M, N]`."""
    training = trainer.training_on(num_envs)
    seeds = random.seeds([2], tf.constant([training.seed, iteration]))
    (epochs, _), size = training.minibatches(), trainer.updates.minibatch_size
    return np.asarray(training.orders(epochs, size, seeds[1]))


def decoder_of(trainer: Any, env: Any) -> Any:
    """Returns what reads the texts of a task as they are written."""
    return engine_of(trainer, env).writer.sampler.decoder


def traces(trainer: Any) -> int:
    """Returns how often the program of the last `fit` was built."""
    count: int = trainer.function.experimental_get_tracing_count()
    return count


def values_of(variables: Any) -> list[np.ndarray]:
    """Returns copies of variables."""
    return [tf.identity(variable).numpy() for variable in variables]


class Oracle:
    """A trainer's models as plain functions of rows, for naive transcriptions."""

    def __init__(self, trainer: Any, rows: Any) -> None:
        self.trainer = trainer
        self.rows = rows
        self.flat = tf.reshape(rows.observations, [-1, 4])
        self.actions = tf.reshape(rows.actions, [-1])
        self.valid = (
            np.ones(T * B, bool) if rows.valid is None else rows.valid.numpy().ravel()
        )

    def values(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns V of the observations and of the true next ones, `[T, B]`."""
        critic = self.trainer.critic
        following = critic(tf.reshape(self.rows.next_observations, [-1, 4]))
        return (
            critic(self.flat).numpy().reshape(T, B),
            following.numpy().reshape(T, B),
        )

    def mean(self, terms: tf.Tensor) -> tf.Tensor:
        """Averages `[T * B]` terms over the valid rows."""
        return tf.reduce_mean(tf.boolean_mask(terms, self.valid))

    def constant(self, array: np.ndarray) -> tf.Tensor:
        """Turns `[T, B]` into a constant `[T * B]`."""
        return tf.constant(np.asarray(array).ravel(), tf.float32)

    def log_probs(self) -> tf.Tensor:
        """Returns the log-probabilities of the actions now, by TFP."""
        return self.trainer.policy.distribution(self.flat).log_prob(self.actions)

    def step(self, loss: Any, rate: float) -> list[np.ndarray]:
        """Returns all weights after one step of gradient descent on `loss()`."""
        variables = self.trainer.learned_variables()
        with tf.GradientTape() as tape:
            value = loss()
        gradients = tape.gradient(
            value,
            [variable.value for variable in variables],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return [
            weight - rate * gradient.numpy()
            for weight, gradient in zip(values_of(variables), gradients, strict=True)
        ]


def assert_weights(
    trainer: Any, expected: list[np.ndarray], atol: float = 1e-6
) -> None:
    """Compares a trainer's learned variables with the expected ones."""
    got = values_of(trainer.learned_variables())
    for weight, want in zip(got, expected, strict=True):
        np.testing.assert_allclose(weight, want, atol=atol)
