"""Sums over the replicas of a `tf.distribute` strategy."""

from __future__ import annotations

import tensorflow as tf

from kpg.types import Tensor


def all_sum(value: Tensor) -> Tensor:
    """Adds up a scalar over all replicas, from within one; elsewhere it is the sum.

    Only scalars: TensorFlow numbers the sums of each strategy anew, and refuses one
    whose shape is not that of the same number in an earlier strategy of the process.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce("SUM", value)
