"""What each replica adds to."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from kpg.graph.sums import all_sum


def test_each_replica_gets_the_sum_of_all() -> None:
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

    @tf.function
    def summed() -> Any:
        def own() -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            return all_sum(tf.constant([3.0, 4.0])[context.replica_id_in_sync_group])

        return strategy.experimental_local_results(strategy.run(own))

    for found in summed():
        np.testing.assert_array_equal(found, 7.0)


def test_outside_of_replicas_a_sum_is_what_it_is() -> None:
    value = tf.constant([1.0, 2.0])
    assert all_sum(value) is value
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        assert all_sum(value) is value
