"""The rows that an iteration learns from, and their minibatches."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from kpg.graph import random
from kpg.types import Nest, Tensor


class Batch(NamedTuple):
    """Rows to learn from: `[N, ...]` in no order, or `[T, N, ...]` sequences.

    Recurrent models learn from whole sequences, one per environment.

    Attributes:
        observations: Nest of `[N, ...]`.
        actions: Nest of `[N, ...]`, raw actions.
        log_probs: `[N]` float32, at the time of acting, in nats.
        values: `[N]` float32, the critic's at the time of acting.
        valid: `[N]` bool, or `None` if every row counts.
        resets: `[T, N]` bool, before which recurrent states are zeroed, or `None`.
        states: States of policy and critic before the first row: a pair of nests of
            `[N, ...]`, empty without recurrent models.
        advantages: `[N]` float32.
        targets: `[N]` float32, what the critic should predict.
        weights: `[N]` float32, of the rows in the policy's loss; `None` is 1 for all.
        episodes: `[N]` float32, see `kpg.advantages.Gains`; a minibatch's weights are
            already divided by their mean.
        reference_log_probs: `[N]` float32, of the actions under the reference policy,
            or `None` if the loss does not need them.
        turns: What a learning partner did, a nest of `[N, ...]`, and its `[N]` float32
            log-probabilities at that time, in nats; else `()`.
    """

    observations: Nest
    actions: Nest
    log_probs: Tensor
    values: Tensor
    valid: Tensor | None
    resets: Tensor | None
    states: Nest
    advantages: Tensor = None
    targets: Tensor = None
    weights: Tensor | None = None
    episodes: Tensor | None = None
    reference_log_probs: Tensor | None = None
    turns: Nest = ()


def shuffled(
    seed: Tensor, num_rows: int, num_epochs: int, minibatch_size: int
) -> Tensor:
    """Draws `[num_epochs * num_rows / minibatch_size, minibatch_size]` int32 indices.

    Each epoch uses every row once; `minibatch_size` divides `num_rows`.
    """
    if minibatch_size == num_rows:
        rows = tf.tile(tf.range(num_rows)[tf.newaxis], [num_epochs, 1])
    else:
        rows = random.permutations(num_epochs, num_rows, seed)
    return tf.reshape(rows, [-1, minibatch_size])


def size_of(batch: Batch) -> int:
    """Returns the number of rows, or of sequences."""
    axis = 0 if batch.resets is None else 1
    return int(batch.log_probs.shape[axis])


def take(batch: Batch, indices: Tensor) -> Batch:
    """Returns the rows, or whole sequences, at `indices`."""

    def gather(fields: Nest, axis: int) -> Nest:
        return tf.nest.map_structure(
            lambda rows: None if rows is None else tf.gather(rows, indices, axis=axis),
            fields,
        )

    rows = batch._replace(states=None)
    taken: Batch = gather(rows, axis=0 if batch.resets is None else 1)
    return taken._replace(states=gather(batch.states, axis=0))
