"""What a trajectory becomes before it is learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

from kpg import advantages
from kpg.graph import random

if TYPE_CHECKING:
    from kpg.trainers.algorithm import Algorithm


class Estimates(NamedTuple):
    """What advantages are made of; all `[T, B]`, by the names of `kpg.advantages`.

    Attributes:
        rewards: float32, normalised if the trainer does so.
        values: float32, V of the observation acted on; zeros without a critic.
        next_values: float32, V of the true next observation; never that of a reset.
        terminated: bool.
        truncated: bool.
        log_ratios: float32, log π(a|s) − log μ(a|s) of the policy now against the one
            that acted, in nats, and the same of a partner that learns; `None` unless
            `Trainer.uses_log_ratios`.
        valid: bool, or `None` if every row counts.
        greedy_rewards: float32, as in `Trajectory`.
    """

    rewards: Any
    values: Any
    next_values: Any
    terminated: Any
    truncated: Any
    log_ratios: Any = None
    valid: Any = None
    greedy_rewards: Any = ()

    def gae(self, gamma: float, gae_lambda: float) -> Gains:
        """Returns `kpg.advantages.gae`, with the TD(λ) returns as targets."""
        gains = advantages.gae(
            self.rewards,
            self.values,
            self.next_values,
            self.terminated,
            self.truncated,
            gamma=gamma,
            gae_lambda=gae_lambda,
        )
        return Gains(gains, gains + self.values)


class Gains(NamedTuple):
    """What an algorithm makes of `Estimates`; all `[T, B]` float32.

    Attributes:
        advantages: How much better than expected each step turned out.
        targets: What the critic should say.
        weights: Of each row in the policy's loss, or `None` for 1.
    """

    advantages: Any
    targets: Any
    weights: Any = None


class Batch(NamedTuple):
    """Rows to learn from: `[N, ...]` in no order, or `[T, N, ...]` sequences.

    Recurrent models learn from whole sequences, one of each environment.

    Attributes:
        observations: Nest of `[N, ...]`.
        actions: Nest of `[N, ...]`, raw actions.
        log_probs: `[N]` float32, at the time of acting, in nats.
        values: `[N]` float32, the critic's, when the advantages were estimated.
        advantages: `[N]` float32.
        targets: `[N]` float32, what the critic should say.
        weights: `[N]` float32, of the rows in the policy's loss, or `None` for 1.
        valid: `[N]` bool, or `None` if every row counts.
        resets: `[T, N]` bool, rows before which a recurrent state becomes zero; `None`
            without recurrent models.
        states: The states of policy and critic before the first row, a pair of nests of
            `[N, ...]`; of empty ones without recurrent models.
        reference_log_probs: `[N]` float32, of the actions under the reference policy,
            or `None` if the loss has no part in keeping near it.
        turns: What a partner did, a nest of `[N, ...]`, and its log-probabilities `[N]`
            float32 at that time, in nats; `()` unless one learns.
    """

    observations: Any
    actions: Any
    log_probs: Any
    values: Any
    advantages: Any
    targets: Any
    weights: Any
    valid: Any
    resets: Any
    states: Any
    reference_log_probs: Any = None
    turns: Any = ()


def update_schedule(trainer: Algorithm, num_envs: int) -> tuple[int, int]:
    """Returns the passes over an iteration's rows and the size of a minibatch.

    Algorithms without these settings take one step on all rows.

    Args:
        trainer: Gives the settings and the replicas.
        num_envs: Environments of all replicas together.

    Raises:
        ValueError: If minibatches or replicas do not divide the rows.
    """
    settings = trainer.settings
    rows = num_envs * settings.num_steps
    size = getattr(settings, "minibatch_size", rows)
    replicas = trainer.distribute_strategy.num_replicas_in_sync
    if num_envs % replicas or size % replicas:
        raise ValueError(
            "The number of replicas must divide `num_envs` and `minibatch_size`. "
            f"Received: {replicas} replicas, num_envs={num_envs}, "
            f"minibatch_size={size}"
        )
    if rows % size:
        raise ValueError(
            "`minibatch_size` must divide the rows of an iteration, num_envs * "
            f"num_steps = {num_envs} * {settings.num_steps} = {rows}. "
            f"Received: minibatch_size={size}"
        )
    if trainer.recurrent and size // replicas % settings.num_steps:
        raise ValueError(
            "A recurrent policy or critic learns from whole sequences: "
            "`minibatch_size` must be a multiple of num_steps for each replica. "
            f"Received: minibatch_size={size}, num_steps={settings.num_steps}"
            f", {replicas} replicas"
        )
    return getattr(settings, "num_epochs", 1), size


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
    """Returns the rows, or the whole sequences, at `indices`."""

    def gather(fields: Any, axis: int) -> Any:
        return tf.nest.map_structure(
            lambda rows: None if rows is None else tf.gather(rows, indices, axis=axis),
            fields,
        )

    rows = batch._replace(states=None)
    taken: Batch = gather(rows, axis=0 if batch.resets is None else 1)
    return taken._replace(states=gather(batch.states, axis=0))
