"""What a trajectory becomes before it is learned from."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from kpg import advantages, random


class Estimates(NamedTuple):
    """What advantages are made of; all `[T, B]`, by the names of `kpg.advantages`.

    Attributes:
        rewards: float32, normalised if the trainer does so.
        values: float32, V of the observation acted on; zeros without a critic.
        next_values: float32, V of the true next observation; never that of a reset.
        terminated: bool.
        truncated: bool.
    """

    rewards: Any
    values: Any
    next_values: Any
    terminated: Any
    truncated: Any

    def gae(self, gamma: float, gae_lambda: float) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns `kpg.advantages.gae` and the critic's targets, the TD(λ) returns."""
        gains = advantages.gae(**self._asdict(), gamma=gamma, gae_lambda=gae_lambda)
        return gains, gains + self.values


class Batch(NamedTuple):
    """Rows to learn from, in no order: `[N, ...]`.

    Attributes:
        observations: `[N, ...]`.
        actions: `[N, ...]`, raw actions.
        log_probs: `[N]` float32, at the time of acting, in nats.
        advantages: `[N]` float32.
        targets: `[N]` float32, what the critic should say.
        valid: `[N]` bool, or `None` if every row counts.
    """

    observations: Any
    actions: Any
    log_probs: Any
    advantages: Any
    targets: Any
    valid: Any


def shuffled(
    seed: tf.Tensor, num_rows: int, num_epochs: int, minibatch_size: int
) -> tf.Tensor:
    """Draws the minibatches of all epochs: in each, every row stands exactly once.

    Args:
        seed: `[2]` int32, a stateless seed.
        num_rows: N, a multiple of `minibatch_size`.
        num_epochs: Passes over the rows.
        minibatch_size: Rows in a minibatch.

    Returns:
        `[num_epochs * N / minibatch_size, minibatch_size]` int32 indices of rows.
    """
    if minibatch_size == num_rows:
        rows = tf.tile(tf.range(num_rows)[tf.newaxis], [num_epochs, 1])
    else:
        rows = random.permutations(num_epochs, num_rows, seed)
    return tf.reshape(rows, [-1, minibatch_size])


def take(batch: Batch, indices: tf.Tensor) -> Batch:
    """Returns the rows at `indices`."""
    fields = (
        None
        if field is None
        else tf.nest.map_structure(lambda rows: tf.gather(rows, indices), field)
        for field in batch
    )
    return Batch(*fields)
