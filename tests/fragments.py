"""Made-up fragments of experience, and one iteration of learning from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from kpg.trainers.learning.iteration import Learner
from kpg.trajectories import Trajectory

T, B = 6, 4


def fragment(policy: Any, masked: bool = False, whole: bool = False) -> Trajectory:
    """Returns `T` steps of `B` environments with four numbers to observe.

    Args:
        policy: What the actions and their log-probabilities are of.
        masked: Whether some rows are not valid.
        whole: Whether each environment has one episode, whose end is the last valid
            row.
    """
    random = np.random.default_rng(0)
    observations = random.normal(size=(T + 1, B, 4)).astype("float32")
    terminated = random.random((T, B)) < 0.2
    truncated = (random.random((T, B)) < 0.2) & ~terminated
    finals = random.normal(size=(T, B, 4)).astype("float32")
    valid = random.random((T, B)) < 0.6 if masked else None
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
        rewards=tf.constant(random.normal(size=(T, B)), tf.float32),
        terminated=tf.constant(terminated),
        truncated=tf.constant(truncated),
        valid=None if valid is None else tf.constant(valid),
        next_observations=tf.constant(np.where(ended, finals, observations[1:])),
    )


def learn(
    trainer: Any, rows: Any, carry: Any = None, progress: float = 0.0
) -> tuple[Any, np.ndarray]:
    """Runs one iteration; returns what it carries and its metrics."""
    learner = Learner(trainer, B)
    function = tf.function(learner.learn, autograph=False)
    carry = learner.start() if carry is None else carry
    carry, metrics = function(rows, carry, tf.constant([5, 6]), tf.constant(progress))
    return carry, metrics.numpy()


def values_of(variables: Any) -> list[np.ndarray]:
    """Returns copies of variables."""
    return [tf.identity(variable).numpy() for variable in variables]


class Oracle:
    """A trainer's models as plain functions of rows, for naive transcriptions."""

    def __init__(self, trainer: Any, rows: Trajectory) -> None:
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
