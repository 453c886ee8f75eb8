"""Sums over the replicas of a `tf.distribute` strategy."""

from __future__ import annotations

import tensorflow as tf

from kpg.types import Tensor


def all_sum(value: Tensor) -> Tensor:
    """Adds up a tensor over all replicas, from within one; elsewhere it is the sum."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce("SUM", value)
